package disk

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Badger does not keep its word about what is deleted. When it collects a file of values it asks for the version that it
// finds there, not for the newest of that key, and writes it again, to a younger table than the deletion is in. A compaction
// that takes the deletion first drops it, and the old value is the newest. (Seen in 4.9.6, once in some hundred restarts;
// what was mended there concerns deletions that are made during the collection.) A newer value is never dropped. So an object
// that is gone is a record without data, and that is deleted only when Badger has no older version of its key.

// isGone tells whether the value of an object says that it is gone.
func isGone(value []byte) bool { return len(value) == overhead }

// purgeLeast is how many records of objects that are gone there are before it is worth while to look at them.
const purgeLeast = 64

// bury remembers which records of rs are to be deleted some time.
func (b *Backend) bury(rs []record) {
	for _, r := range rs {
		if (bytes.HasPrefix(r.key, []byte(objects)) || bytes.HasPrefix(r.key, []byte(beside))) && isGone(r.value) {
			b.gone = append(b.gone, r.key)
		}
	}
}

// purge deletes the records of objects that are gone that may be deleted. It looks at them when they are twice as many as
// could not be deleted the last time: so each costs little, however many they are.
func (b *Backend) purge(ctx context.Context) error {
	if !b.looked { // those of records beside the objects are not met when the objects are loaded
		keys, err := b.goneBeside()
		if err != nil {
			return err
		}
		b.mu.Lock()
		b.gone = append(b.gone, keys...)
		b.mu.Unlock()
		b.looked = true
	}
	b.mu.Lock()
	todo := len(b.gone)
	enough := todo >= purgeLeast+2*b.kept
	b.mu.Unlock()
	if !enough {
		return nil
	}
	for todo > 0 && ctx.Err() == nil {
		n, err := b.purgeSome(min(todo, 256))
		if err != nil {
			return err
		}
		todo -= n
	}
	b.mu.Lock()
	b.kept = len(b.gone)
	b.mu.Unlock()
	return nil
}

// purgeSome looks at the first n records, and keeps those for later that have to stay. Nothing is written or collected
// meanwhile, so what it sees goes on to be true.
func (b *Backend) purgeSome(n int) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.room(0); errors.Is(err, store.ErrNoRoom) {
		return n, nil
	} else if err != nil {
		return n, err
	}
	some := slices.Clone(b.gone[:n])
	slices.SortFunc(some, bytes.Compare)
	free, kept, err := b.sortOut(slices.CompactFunc(some, bytes.Equal))
	if err != nil {
		return n, err
	}
	b.gone = append(b.gone[n:], kept...)
	return n, b.stop(b.putInParts(free))
}

// sortOut looks at keys, which are sorted: free deletes those of which there is only the record that says that the object is
// gone; kept are those with older versions below it. What is there again is neither.
func (b *Backend) sortOut(keys [][]byte) (free []record, kept [][]byte, err error) {
	txn := b.db.NewTransaction(false)
	defer txn.Discard()
	err = guarded(func() error {
		it := txn.NewIterator(badger.IteratorOptions{AllVersions: true})
		defer it.Close()
		for _, key := range keys {
			at := func() bool { return it.Valid() && bytes.Equal(it.Item().Key(), key) }
			if it.Seek(key); !at() || it.Item().IsDeletedOrExpired() {
				continue
			}
			gone := false
			if err := it.Item().Value(func(v []byte) error { gone = isGone(v); return nil }); err != nil {
				return err
			}
			if !gone {
				continue
			}
			if it.Next(); at() {
				kept = append(kept, key)
			} else {
				free = append(free, record{key: key})
			}
		}
		return nil
	})
	return free, kept, err
}
