package disk

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/dgraph-io/badger/v4"
)

// get is a copy of the value at key, nil if there is none. The error is a *Damage.
func (b *Backend) get(key string) (v []byte, err error) {
	err = guarded(func() error {
		return b.db.View(func(txn *badger.Txn) error {
			item, err := txn.Get([]byte(key))
			if errors.Is(err, badger.ErrKeyNotFound) {
				return nil
			}
			if err == nil {
				v, err = item.ValueCopy(nil)
			}
			return err
		})
	})
	if err != nil {
		return nil, b.damage(fmt.Sprintf("Badger cannot read %q: %v", key, err))
	}
	return v, nil
}

// each calls fn with what is under prefix, in order. fn may keep neither key nor value. The error is a *Damage.
func (b *Backend) each(prefix string, fn func(key, value []byte)) error {
	txn := b.db.NewTransaction(false)
	defer txn.Discard()
	err := scan(txn, prefix, func(key, value []byte) error {
		fn(key, value)
		return nil
	})
	if err != nil {
		return b.damage(fmt.Sprintf("Badger cannot read all of %q: %v", prefix, err))
	}
	return nil
}

// scan calls fn with what is under prefix, in order, until it fails.
func scan(txn *badger.Txn, prefix string, fn func(key, value []byte) error) error {
	return guarded(func() error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			if err := item.Value(func(v []byte) error { return fn(item.Key(), v) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// guarded runs f, which reads files that may be damaged, and makes a panic an error; so too a fault of a mapped file that
// is shorter than it should be.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f()
}
