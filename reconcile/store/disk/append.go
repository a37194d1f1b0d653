package disk

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Append implements store.Backend. It waits for the disk no longer than Options.Deadline at a time.
func (b *Backend) Append(ctx context.Context, after store.Revision, ds []store.Delta) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.stopped(); err != nil {
		return err
	}
	if after != b.state.revision {
		return fmt.Errorf("append: %w: its end is %d, not %d", store.ErrFenced, b.state.revision, after)
	}
	st, rs, err := plan(b.state, ds, b.codec)
	if err != nil || len(rs) == 0 {
		return err
	}
	if err := b.room(2 * size(rs)); err != nil { // a transaction in pieces is written twice
		return err
	}
	if err := b.stop(b.roster.write(st, rs)); err != nil {
		return err
	}
	if err := b.stop(b.put(st, rs)); err != nil {
		return err
	}
	b.state = st
	b.bury(rs)
	return b.stop(b.acked.write(st.revision))
}

// plan is the state after ds, and the records to write for it: of several changes to a key only the last.
func plan(st state, ds []store.Delta, codec Codec) (state, []record, error) {
	var todo []change
	newest := map[store.Key]int{} // in todo
	for _, d := range ds {
		if d.Revision != st.revision+store.Revision(len(d.Changes)) {
			return st, nil, fmt.Errorf("append: delta %d does not follow revision %d", d.Revision, st.revision)
		}
		for _, c := range d.Changes {
			if st.revision++; c.Revision != st.revision {
				return st, nil, fmt.Errorf("append: change %d does not follow revision %d", c.Revision, st.revision-1)
			}
			k := keyOf(c.Object())
			key := objectKey(k)
			if c.Old != nil {
				st.sum -= fingerprint(key, store.RevisionOf(c.Old))
			}
			if c.New != nil {
				st.sum += fingerprint(key, c.Revision)
			}
			if i, ok := newest[k]; ok {
				todo[i].Change = c
				continue
			}
			newest[k] = len(todo)
			todo = append(todo, change{Change: c, key: key})
		}
	}
	rs, err := encode(todo, codec)
	if err != nil {
		return st, nil, err
	}
	beside, err := besides(ds, len(todo) == 0)
	return st, append(rs, beside...), err
}

type change struct {
	store.Change
	key []byte
}

// keyOf names an object by the kind that it says it is of: the store sees to it that each says so.
func keyOf(o store.Object) store.Key {
	return store.Key{Kind: o.GetObjectKind().GroupVersionKind().GroupKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// encode makes records of changes, large groups on all processors.
func encode(todo []change, codec Codec) ([]record, error) {
	const share = 32                             // fewer are not worth a goroutine
	rs := make([]record, len(todo), len(todo)+1) // put adds one
	workers := max(1, min(runtime.GOMAXPROCS(0), len(todo)/share))
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		from, to := len(todo)*w/workers, len(todo)*(w+1)/workers
		part := func() { errs[w] = encodePart(rs[from:to], todo[from:to], codec) }
		if w == workers-1 {
			part()
		} else {
			wg.Go(part)
		}
	}
	wg.Wait()
	return rs, errors.Join(errs...)
}

func encodePart(rs []record, todo []change, codec Codec) error {
	for i, c := range todo {
		rs[i].key = c.key
		if c.New == nil {
			rs[i].value = objectValue(c.key, c.Revision, nil)
			continue
		}
		data, err := codec.Encode(c.New)
		if err != nil {
			return fmt.Errorf("encode %s: %w: %w", keyOf(c.New), store.ErrUnstorable, err)
		}
		if len(data) > largest {
			return fmt.Errorf("encode %s: %w: it has %d KiB, at most %d are possible", keyOf(c.New), store.ErrUnstorable, len(data)>>10, largest>>10)
		}
		rs[i].value = objectValue(c.key, c.Revision, data)
	}
	return nil
}

func size(rs []record) (n int64) {
	for _, r := range rs {
		n += int64(len(r.key) + len(r.value))
	}
	return n
}

// put writes rs and the state in one transaction if Badger takes it, else in pieces.
func (b *Backend) put(st state, rs []record) error {
	all := append(rs, record{[]byte(stateAt), st.encode()})
	txn := b.db.NewTransaction(true)
	n, err := fill(txn, all)
	if err != nil {
		txn.Discard()
		return err
	}
	if n == len(all) {
		return b.finish(txn)
	}
	txn.Discard()
	return b.putInPieces(st, rs)
}

// largest is the size of an encoded object above which it is refused; transaction is that of a transaction of Badger. A
// transaction in one file of values that grows beyond its mapping is mapped anew while others may read it: one of this
// size, begun at any place that Badger begins one, does not.
const (
	transaction = valueFile - valueFile/8
	largest     = transaction / 2
)

// fill adds as many of rs to txn as it takes, and tells how many.
func fill(txn *badger.Txn, rs []record) (int, error) {
	left := transaction
	for n, r := range rs {
		if left -= len(r.key) + len(r.value) + 64; left < 0 { // 64: more than what Badger adds
			return n, nil
		}
		var err error
		if r.value == nil {
			err = txn.Delete(r.key)
		} else {
			err = txn.SetEntry(&badger.Entry{Key: r.key, Value: r.value})
		}
		if errors.Is(err, badger.ErrTxnTooBig) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("write %q: %w", r.key, err)
		}
	}
	return len(rs), nil
}

// putInParts writes rs in order, in as many transactions as it takes: not atomic.
func (b *Backend) putInParts(rs []record) error {
	for len(rs) > 0 {
		txn := b.db.NewTransaction(true)
		n, err := fill(txn, rs)
		if err == nil && n == 0 {
			err = fmt.Errorf("write %q: %w", rs[0].key, badger.ErrTxnTooBig)
		}
		if err != nil {
			txn.Discard()
			return err
		}
		if err := b.finish(txn); err != nil {
			return err
		}
		rs = rs[n:]
	}
	return nil
}
