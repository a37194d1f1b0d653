package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// rewriteAtOnce is how many objects are encoded anew while appends wait.
const rewriteAtOnce = 64

// Rewrite encodes anew all objects of a kind whose encoding is outdated, at the revisions that they have, and returns how many
// there were. It is not atomic: what it has not come to when it fails is as it was. It may run beside everything.
func (b *Backend) Rewrite(ctx context.Context, kind schema.GroupKind, outdated func(encoded []byte) bool) (int, error) {
	keys, err := b.outdated(ctx, kind, outdated)
	if err != nil {
		return 0, err
	}
	done := 0
	for len(keys) > 0 {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n := min(rewriteAtOnce, len(keys))
		m, err := b.rewrite(keys[:n], outdated)
		if done += m; err != nil {
			return done, fmt.Errorf("encode anew: %w", err)
		}
		keys = keys[n:]
	}
	return done, nil
}

// outdated are the keys of what is to be encoded anew.
func (b *Backend) outdated(ctx context.Context, kind schema.GroupKind, outdated func([]byte) bool) (keys [][]byte, err error) {
	if err := b.stopped(); err != nil {
		return nil, err
	}
	_, txn := b.view()
	defer txn.Discard()
	err = scan(txn, objects+kind.Group+"/"+kind.Kind+"/", func(key, value []byte) error {
		if _, data, err := parseValue(key, value); err == nil && len(data) > 0 && outdated(data) { // what is spoilt is Check's to tell
			keys = append(keys, bytes.Clone(key))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("look for what is to be encoded anew: %w", err)
	}
	return keys, nil
}

// rewrite encodes anew what is at keys, if it still is outdated.
func (b *Backend) rewrite(keys [][]byte, outdated func([]byte) bool) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.stopped(); err != nil {
		return 0, err
	}
	rs, err := b.encodedAnew(keys, outdated)
	if err != nil || len(rs) == 0 {
		return 0, err
	}
	if err := b.room(size(rs)); err != nil {
		return 0, err
	}
	return len(rs), b.stop(b.putInParts(rs))
}

func (b *Backend) encodedAnew(keys [][]byte, outdated func([]byte) bool) (rs []record, err error) {
	err = guarded(func() error {
		return b.db.View(func(txn *badger.Txn) error {
			for _, key := range keys {
				r, err := b.anew(txn, key, outdated)
				if err != nil {
					return err
				}
				if r.value != nil {
					rs = append(rs, r)
				}
			}
			return nil
		})
	})
	return rs, err
}

// anew is what is at key, encoded anew; without a value if it need not be.
func (b *Backend) anew(txn *badger.Txn, key []byte, outdated func([]byte) bool) (record, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	var value []byte
	if value, err = item.ValueCopy(nil); err != nil {
		return record{}, err
	}
	revision, data, err := parseValue(key, value)
	if err != nil || len(data) == 0 || !outdated(data) {
		return record{}, err
	}
	var o store.Object
	if o, err = b.codec.Decode(data); err == nil {
		o.SetResourceVersion(revision.String())
		data, err = b.codec.Encode(o)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", parseKey(key), err)
	}
	return record{key, objectValue(key, revision, data)}, nil
}
