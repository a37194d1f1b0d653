package store

import (
	"fmt"
	"slices"
)

// A Tx is one transaction: the newest state, and what was changed of it. Neither it nor its Snapshot may outlive Update's
// fn. It hands out objects as any Snapshot does: DeepCopy before you edit. What is given to it is the store's from then on,
// even if the transaction fails.
type Tx struct {
	*Snapshot
	changes []Change
	keys    []Key       // of changes
	at      map[Key]int // the newest of changes for a key; nil while there are few
	records []Record
}

// few changes are searched faster than hashed.
const few = 8

// Create adds o. ErrExists if there is one of that key.
func (tx *Tx) Create(o Object) error {
	k := tx.Key(o)
	if k.Kind.Empty() || k.Name == "" {
		return fmt.Errorf("create %T: it has no kind or no name", o)
	}
	if _, ok := tx.Get(k); ok {
		return fmt.Errorf("create %s: %w", k, ErrExists)
	}
	tx.put(k, nil, o)
	return nil
}

// Update replaces the object with o's key. ErrNotFound if there is none, or one with another UID; ErrConflict if o names
// a revision (resourceVersion) that is not the live object's. Until the transaction ends, what it wrote has the revision
// of what was there before.
func (tx *Tx) Update(o Object) error {
	k := tx.Key(o)
	old, ok := tx.Get(k)
	if !ok || o.GetUID() != "" && o.GetUID() != old.GetUID() {
		return fmt.Errorf("update %s: %w", k, ErrNotFound)
	}
	if o == old {
		return fmt.Errorf("update %s: it is the stored object itself, which may not be edited: DeepCopy it", k)
	}
	if r := o.GetResourceVersion(); r != "" && r != old.GetResourceVersion() {
		return fmt.Errorf("update %s: %w", k, ErrConflict)
	}
	tx.put(k, old, o)
	return nil
}

// Delete removes the object at k at once. Grace and finalizers are the caller's matter. ErrNotFound if there is none.
func (tx *Tx) Delete(k Key) error {
	old, ok := tx.Get(k)
	if !ok {
		return fmt.Errorf("delete %s: %w", k, ErrNotFound)
	}
	tx.put(k, old, nil)
	return nil
}

// Keep writes records, of which those of one key come in order. In a transaction that changes no object they must be small: a
// megabyte in all.
func (tx *Tx) Keep(records ...Record) { tx.records = append(tx.records, records...) }

// put notes a change. Several changes to one object are one, but what is deleted and created again is two objects.
func (tx *Tx) put(k Key, old, new Object) {
	if new != nil {
		new.GetObjectKind().SetGroupVersionKind(tx.kinds.Of(new))
		new.SetResourceVersion("")
		if old != nil {
			new.SetResourceVersion(old.GetResourceVersion())
		}
	}
	tx.apply(k, old, new)
	if i, ok := tx.find(k); ok && (old != nil || tx.changes[i].Old == nil) {
		tx.changes[i].New = new
		return
	}
	tx.changes = append(tx.changes, Change{Old: old, New: new})
	tx.keys = append(tx.keys, k)
	if tx.at != nil {
		tx.at[k] = len(tx.keys) - 1
	}
}

// find is the place of k's newest change.
func (tx *Tx) find(k Key) (int, bool) {
	if tx.at == nil && len(tx.keys) > few {
		tx.at = make(map[Key]int, 2*few)
		for i, k := range tx.keys {
			tx.at[k] = i
		}
	}
	if tx.at != nil {
		i, ok := tx.at[k]
		return i, ok
	}
	for i, other := range slices.Backward(tx.keys) {
		if other == k {
			return i, true
		}
	}
	return 0, false
}

// close numbers the changes after the revision that the transaction saw.
func (tx *Tx) close(why string) Delta {
	d := Delta{Revision: tx.revision, Why: why, Records: tx.records}
	for _, c := range tx.changes {
		if c.Old == nil && c.New == nil {
			continue // created and deleted again
		}
		d.Revision++
		c.Revision = d.Revision
		if c.New != nil {
			c.New.SetResourceVersion(d.Revision.String())
		}
		d.Changes = append(d.Changes, c)
	}
	return d
}

// undo takes the changes back.
func (tx *Tx) undo() {
	for i, c := range slices.Backward(tx.changes) {
		if c.Old != nil || c.New != nil {
			tx.apply(tx.keys[i], c.New, c.Old)
		}
	}
}
