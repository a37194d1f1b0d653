package disk

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Loss is an object that is not as it was acknowledged.
type Loss struct {
	Key  store.Key      `json:"-"`
	Want store.Revision `json:"want"`           // as acknowledged; 0: it is not known, or the object should be gone
	Have store.Revision `json:"have,omitempty"` // as it is; 0: it is missing, or cannot be read
}

func (l Loss) String() string {
	switch {
	case l.Have == 0 && l.Want == 0:
		return fmt.Sprintf("%s: cannot be read", l.Key)
	case l.Have == 0:
		return fmt.Sprintf("%s: revision %d is missing", l.Key, l.Want)
	case l.Want == 0:
		return fmt.Sprintf("%s: revision %d is back, though it was deleted", l.Key, l.Have)
	}
	return fmt.Sprintf("%s: revision %d is missing, there is only revision %d", l.Key, l.Want, l.Have)
}

// losses compares what there is with the roster: every object that is missing, too old or back from the dead. Without a
// roster only what cannot be read is known.
func (t tally) losses(listed entries, upto store.Revision) []Loss {
	var all []Loss
	unreadable := map[string]bool{}
	for _, key := range t.unreadable {
		unreadable[string(key)] = true
		if listed[string(key)] == 0 {
			all = append(all, Loss{Key: parseKey(key)})
		}
	}
	for key, want := range listed {
		if have := t.seen[key]; have < want {
			all = append(all, Loss{parseKey([]byte(key)), revisionIn(want), revisionIn(have)})
		}
	}
	for key, have := range t.seen {
		if _, ok := listed[key]; !ok && !unreadable[key] && revisionIn(have) <= upto {
			all = append(all, Loss{Key: parseKey([]byte(key)), Have: revisionIn(have)})
		}
	}
	slices.SortFunc(all, func(a, b Loss) int { return a.Key.Compare(b.Key) })
	return all
}

// explain adds to what was found which objects it concerns.
func (b *Backend) explain(found []string) error {
	d, _, _ := b.assess(found)
	if d == nil {
		return &Damage{Dir: b.dir, Found: found}
	}
	return d
}

// assess reads every object and compares with the state and the roster: nil if all is well and nothing was found before. It
// returns also what it read, and the records that remove what cannot be read or is back from the dead.
func (b *Backend) assess(found []string) (*Damage, tally, []record) {
	t, gone := b.survey()
	if found = append(found, t.unread()...); len(found) == 0 && t.sum != b.state.sum {
		found = append(found, different)
	}
	if len(found) == 0 {
		return nil, t, nil
	}
	d := &Damage{Dir: b.dir, Found: found}
	listed, st, err := b.roster.live(b.roster.size)
	d.Partial = err != nil || st.revision < max(b.state.revision, b.acked.revision)
	d.Lost = t.losses(listed, st.revision)
	for _, l := range d.Lost {
		if l.Want == 0 && l.Have > 0 {
			key := objectKey(l.Key)
			gone = append(gone, record{key, objectValue(key, l.Have, nil)})
			t.sum -= fingerprint(key, l.Have)
			delete(t.seen, string(key))
		}
	}
	return d, t, gone
}

// survey reads every object, and returns also the records that remove what cannot be read.
func (b *Backend) survey() (t tally, gone []record) {
	t.seen = entries{}
	err := b.each(objects, func(key, value []byte) {
		if _, err := t.add(record{key, value}, b.codec); err != nil {
			gone = append(gone, record{bytes.Clone(key), objectValue(key, t.last, nil)})
		}
	})
	if err != nil {
		t.stopped = err.Error()
	}
	return t, gone
}
