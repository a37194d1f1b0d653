package kubestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Get implements storage.Interface.
func (s *Storage) Get(_ context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	k, err := s.object(key)
	if err != nil {
		return err
	}
	snapshot := s.Store.Snapshot()
	if err := s.atLeast(opts.ResourceVersion, snapshot.Revision()); err != nil {
		return err
	}
	switch o, ok := snapshot.Get(k); {
	case ok:
		return s.give(o, out)
	case opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	}
	return storage.NewKeyNotFoundError(key, 0)
}

// Create implements storage.Interface. A time to live is not looked at: what expires is swept out of the store by its
// kind, whoever wrote it.
func (s *Storage) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	k, err := s.object(key)
	if err != nil {
		return err
	}
	if v, err := s.versioner.ObjectResourceVersion(obj); err == nil && v != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	o, err := s.stored(k, obj)
	if err != nil {
		return err
	}
	if _, err := s.Store.Update(ctx, why(ctx, "create", k), func(tx *store.Tx) error { return s.create(tx, o) }); err != nil {
		return refused(key, err)
	}
	return s.give(o, out)
}

func (s *Storage) create(tx *store.Tx, o store.Object) error {
	if err := s.assign(tx, nil, o); err != nil {
		return err
	}
	return tx.Create(o)
}

// assign asks whether new may be written, and gives it what it must be given.
func (s *Storage) assign(tx *store.Tx, old, new store.Object) error {
	if s.Admit != nil {
		if err := s.Admit(tx, old, new); err != nil {
			return err
		}
	}
	if s.Assign == nil {
		return nil
	}
	return s.Assign(tx, old, new)
}

// A Decision says what shall become of old, the object at a key, which is nil if there is none: old itself to leave it as
// it is, nil to delete it, or what replaces it, which becomes the store's. old is not written to. An error is returned to
// whoever asked, and nothing is changed.
type Decision func(old store.Object) (next store.Object, err error)

// Change does what decide says of the object at key. decide runs outside of the store's lock, so it may take its time, and
// runs again if the object was changed meanwhile. The result is not to be written to: the object as it is now, or, if it
// was deleted, its last state with the revision of its end.
func (s *Storage) Change(ctx context.Context, verb, key string, decide Decision) (store.Object, error) {
	k, err := s.object(key)
	if err != nil {
		return nil, err
	}
	for old, _ := s.Store.Snapshot().Get(k); ; {
		next, err := decide(old)
		if err != nil || next == old {
			return old, err
		}
		revision, err := s.Store.Update(ctx, why(ctx, verb, k), func(tx *store.Tx) error {
			switch now, _ := tx.Get(k); {
			case now != old:
				return store.ErrConflict
			case next == nil:
				return tx.Delete(k)
			case old == nil:
				return s.create(tx, next)
			}
			if err := s.assign(tx, old, next); err != nil {
				return err
			}
			return tx.Update(next)
		})
		switch {
		case err == nil && next == nil:
			return at(revision, old), nil
		case err == nil:
			return next, nil
		case !errors.Is(err, store.ErrConflict):
			return nil, refused(key, err)
		}
		if old, err = s.newest(ctx, k); err != nil {
			return nil, refused(key, err)
		}
	}
}

// Current is the object at key, nil if there is none. It is not to be written to.
func (s *Storage) Current(key string) (store.Object, error) {
	k, err := s.object(key)
	if err != nil {
		return nil, err
	}
	o, _ := s.Store.Snapshot().Get(k)
	return o, nil
}

// Transact changes the object at key and others with it, in one transaction: all that fn writes, or nothing if it returns an
// error, which is handed on. fn runs alone on the newest state, so it must be short.
func (s *Storage) Transact(ctx context.Context, verb, key string, fn func(tx *store.Tx, k store.Key) error) error {
	k, err := s.object(key)
	if err != nil {
		return err
	}
	if _, err := s.Store.Update(ctx, why(ctx, verb, k), func(tx *store.Tx) error { return fn(tx, k) }); err != nil {
		return refused(key, err)
	}
	return nil
}

// newest is the object at k, or nil, after all that was decided until now is durable.
func (s *Storage) newest(ctx context.Context, k store.Key) (o store.Object, err error) {
	_, err = s.Store.Update(ctx, "", func(tx *store.Tx) error {
		o, _ = tx.Get(k)
		return nil
	})
	return o, err
}

// GuaranteedUpdate implements storage.Interface. try receives a copy that it may write to.
func (s *Storage) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, try storage.UpdateFunc, _ runtime.Object) error {
	k, err := s.object(key)
	if err != nil {
		return err
	}
	o, err := s.Change(ctx, "update", key, func(old store.Object) (store.Object, error) {
		if old == nil && !ignoreNotFound {
			return nil, storage.NewKeyNotFoundError(key, 0)
		}
		input, meta, err := s.given(old, out)
		if err != nil {
			return nil, err
		}
		if err := pre.Check(key, input); err != nil {
			return nil, err
		}
		result, _, err := try(input, meta)
		if err != nil {
			return nil, err
		}
		next, err := s.stored(k, result)
		if err != nil || old == nil {
			return next, err
		}
		if same, err := s.equal(old, next); same || err != nil {
			return old, err
		}
		return next, nil
	})
	if err != nil {
		return err
	}
	return s.give(o, out)
}

// given is what an update works on: a copy of old, or, if there is none, an empty object of out's type.
func (s *Storage) given(old store.Object, out runtime.Object) (runtime.Object, storage.ResponseMeta, error) {
	if old != nil {
		input, err := s.edit(old)
		return input, storage.ResponseMeta{ResourceVersion: uint64(store.RevisionOf(old))}, err
	}
	empty := out.DeepCopyObject()
	return empty, storage.ResponseMeta{}, runtime.SetZeroValue(empty)
}

// edit is a copy of o as it is served, which is the caller's altogether.
func (s *Storage) edit(o store.Object) (store.Object, error) {
	if s.Convert == nil {
		return editable(o), nil
	}
	return s.show(o)
}

// equal tells whether a and b, which bear their kind, are written the same way, but for their revision.
func (s *Storage) equal(a, b store.Object) (bool, error) {
	var data [2][]byte
	for i, o := range []store.Object{a, b} {
		o := Private(o)
		o.GetObjectKind().SetGroupVersionKind(a.GetObjectKind().GroupVersionKind())
		o.SetResourceVersion("")
		var err error
		if data[i], err = s.Encode(o); err != nil {
			return false, err
		}
	}
	return bytes.Equal(data[0], data[1]), nil
}

// Delete implements storage.Interface.
func (s *Storage) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions) error {
	o, err := s.Change(ctx, "delete", key, func(old store.Object) (store.Object, error) {
		if old == nil {
			return nil, storage.NewKeyNotFoundError(key, 0)
		}
		last, err := s.show(old)
		if err != nil {
			return nil, err
		}
		if err := pre.Check(key, last); err != nil {
			return nil, err
		}
		return nil, validate(ctx, last)
	})
	if err != nil {
		return err
	}
	return s.give(o, out)
}

// why is the reason of a change that came through the API.
func why(ctx context.Context, verb string, k store.Key) string {
	if u, ok := request.UserFrom(ctx); ok {
		return fmt.Sprintf("%s of %s asked for by %s", verb, k, u.GetName())
	}
	return fmt.Sprintf("%s of %s asked for through the API", verb, k)
}
