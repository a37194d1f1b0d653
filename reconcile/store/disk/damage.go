package disk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Damage says that a store has not all that was acknowledged.
type Damage struct {
	Dir     string
	Found   []string // what does not add up, a line each
	Lost    []Loss   // the objects that it concerns
	Partial bool     // more may be lost: the roster is damaged too
	Beyond  bool     // Options.AcceptLoss does not help
}

// Error is a line for each thing that is wrong, up to some.
func (d *Damage) Error() string {
	const most = 20
	lines := []string{fmt.Sprintf("the store in %s is damaged:", d.Dir)}
	lines = append(lines, firstOf(d.Found, most)...)
	if len(d.Lost) > 0 {
		var lost []string
		for _, l := range d.Lost {
			lost = append(lost, l.String())
		}
		lines = append(lines, firstOf(lost, most)...)
	}
	if d.Partial {
		lines = append(lines, "it is not known whether more is missing: the list of what should be there is damaged too")
	}
	text := strings.Join(lines, "\n  ")
	if d.Beyond {
		return text + "\nrestore a backup, or move the folder away to begin anew; what comes from Git comes back by itself"
	}
	return text + "\nrestore a backup, or start with --accept-loss to go on without what is missing; what comes from Git comes back by itself"
}

func firstOf(lines []string, most int) []string {
	if len(lines) > most {
		return append(slices.Clone(lines[:most]), fmt.Sprintf("and %d more", len(lines)-most))
	}
	return lines
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
	if err := b.roster.cut(max(b.state.revision, b.acked.revision)); err != nil {
		return err
	}
	if b.state.revision < b.acked.revision {
		return b.damage(fmt.Sprintf("it ends at revision %d, but %d was acknowledged: the changes between are missing",
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
	damage, t, gone := b.assess(found)
	if damage == nil {
		return nil
	}
	for _, line := range damage.Found {
		b.opts.Log.Warn("accepted a loss", "found", line)
	}
	for _, l := range damage.Lost {
		b.opts.Log.Warn("accepted a loss", "object", l.String())
	}
	b.accepted = damage
	return b.rebuild(t, gone)
}

// Accepted is the damage that Open went on with, nil if there was none.
func (b *Backend) Accepted() *Damage { return b.accepted }

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
	if err := b.putInParts(append(append(gone, begun...), whole...)); err != nil {
		return err
	}
	return b.relist(t.seen)
}
