package disk

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// errEnough ends a scan whose reader has enough.
var errEnough = errors.New("enough")

// mostAlone is the size of the records of a group without objects above which it is refused: what is written in pieces has a
// revision of its own.
const mostAlone = 2 << 20

// besides are the records beside the objects that ds write: of several of a key only the last. alone: there are no objects.
func besides(ds []store.Delta, alone bool) (rs []record, err error) {
	newest := map[string]int{} // in rs
	for _, d := range ds {
		for _, r := range d.Records {
			key := []byte(beside + r.Key)
			if len(r.Value) > largest {
				return nil, fmt.Errorf("write record %s: %w: it has %d KiB, at most %d are possible", r.Key, store.ErrUnstorable, len(r.Value)>>10, largest>>10)
			}
			i, ok := newest[r.Key]
			if !ok {
				i = len(rs)
				newest[r.Key] = i
				rs = append(rs, record{key: key})
			}
			rs[i].value = objectValue(key, d.Revision, r.Value)
		}
	}
	if n := size(rs); alone && n > mostAlone {
		return nil, fmt.Errorf("write %d records: %w: they have %d KiB, at most %d are possible without an object", len(rs), store.ErrUnstorable, n>>10, mostAlone>>10)
	}
	return rs, nil
}

// Record implements store.Backend. A record that is spoilt is an error; the store goes on.
func (b *Backend) Record(key string) ([]byte, error) {
	at := beside + key
	v, err := b.get(at)
	if err != nil || v == nil {
		return nil, err
	}
	_, data, err := parseValue([]byte(at), v)
	if err != nil {
		return nil, fmt.Errorf("read record %s: %w", key, err)
	}
	if len(data) == 0 {
		return nil, nil
	}
	return data, nil
}

// RecordsUnder implements store.Backend.
func (b *Backend) RecordsUnder(prefix string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		txn := b.db.NewTransaction(false)
		defer txn.Discard()
		stopped := false
		err := scan(txn, beside+prefix, func(key, value []byte) error {
			_, data, err := parseValue(key, value)
			if err != nil {
				return fmt.Errorf("read record %s: %w", strings.TrimPrefix(string(key), beside), err)
			}
			if len(data) > 0 && !yield(store.Record{Key: strings.TrimPrefix(string(key), beside), Value: append([]byte(nil), data...)}, nil) {
				stopped = true
				return errEnough
			}
			return nil
		})
		if err != nil && !stopped {
			yield(store.Record{}, err)
		}
	}
}

// goneBeside are the keys of records that are gone.
func (b *Backend) goneBeside() (keys [][]byte, err error) {
	txn := b.db.NewTransaction(false)
	defer txn.Discard()
	err = guarded(func() error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(beside)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if item := it.Item(); item.ValueSize() == overhead {
				keys = append(keys, item.KeyCopy(nil))
			}
		}
		return nil
	})
	return keys, err
}
