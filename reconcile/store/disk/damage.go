package disk

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Damage says that a store has not all that was acknowledged.
type Damage struct {
	Dir    string
	Found  []string // what does not add up, a line each
	Beyond bool     // Options.AcceptLoss does not help
}

func (d *Damage) Error() string {
	const most = 20
	found, more := d.Found, ""
	if len(found) > most {
		found, more = found[:most], fmt.Sprintf("; and %d more", len(found)-most)
	}
	mend := "start with --accept-loss to go on without what is missing; what comes from Git comes back by itself"
	if d.Beyond {
		mend = "restore a backup, or move the folder away to begin anew; what comes from Git comes back by itself"
	}
	return fmt.Sprintf("the store in %s is damaged: %s%s (%s)", d.Dir, strings.Join(found, "; "), more, mend)
}

func (b *Backend) damage(found string) error { return &Damage{Dir: b.dir, Found: []string{found}} }

// recover reads the state, finishes or removes what a crash cut short, and compares with the revision file.
func (b *Backend) recover() error {
	if err := b.readState(); err != nil {
		return err
	}
	if err := b.redo(); err != nil {
		return err
	}
	if b.state.revision < b.acked.revision {
		return b.damage(fmt.Sprintf("it ends at revision %d, but %d was acknowledged: all changes between are missing",
			b.state.revision, b.acked.revision))
	}
	return b.sweep()
}

func (b *Backend) readState() error {
	v, err := b.get(stateAt)
	if err != nil || v == nil {
		return err // a new store has none; if it should have one, the revision file tells
	}
	st, err := decodeState(v)
	switch {
	case errors.Is(err, ErrFormat):
		return fmt.Errorf("open the store in %s: %w", b.dir, err)
	case err != nil:
		return b.damage("the record of its state is unreadable")
	}
	b.state = st
	return nil
}

// accept is recover, but goes on without what is missing. found is what was found until now.
func (b *Backend) accept(found []string) error {
	err := b.recover()
	if damage, ok := errors.AsType[*Damage](err); ok {
		found = append(found, damage.Found...)
	} else if err != nil {
		return err
	}
	t, gone := b.survey()
	if found = append(found, t.against(b.state)...); len(found) == 0 {
		return nil
	}
	for _, line := range found {
		b.opts.Log.Warn("accepted a loss", "found", line)
	}
	return b.rebuild(t, gone)
}

// beyond is added to the last known revision when a loss is accepted, so that none is given out twice: after a power cut,
// more was seen than is known.
const beyond = 1 << 20

// rebuild makes a state for what t counted, and removes gone and what was cut short.
func (b *Backend) rebuild(t tally, gone []record) error {
	begun, err := b.keys(pieces)
	if err != nil {
		return err
	}
	last := max(b.state.revision, b.acked.revision, t.last)
	b.state = state{revision: last + beyond, sum: t.sum}
	whole := []record{{[]byte(stateAt), b.state.encode()}, {key: []byte(closing)}}
	return b.putInParts(append(append(gone, begun...), whole...))
}

// survey reads every object, and returns also the records that remove what cannot be read.
func (b *Backend) survey() (t tally, gone []record) {
	err := b.each(objects, func(key, value []byte) {
		if _, err := t.add(record{key, value}, b.codec); err != nil {
			gone = append(gone, record{bytes.Clone(key), objectValue(key, t.last, nil)})
		}
	})
	if damage, ok := errors.AsType[*Damage](err); ok {
		t.spoilt = append(t.spoilt, damage.Found...)
	}
	return t, gone
}
