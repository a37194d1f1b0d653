package kubestore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// GetList implements storage.Interface. A list that is read in pages is of one revision throughout.
func (s *Storage) GetList(_ context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	sc, err := s.scope(key, opts.Recursive)
	if err != nil {
		return err
	}
	into, err := newItems(list)
	if err != nil {
		return err
	}
	revision, start, err := storage.ValidateListOptions(sc.prefix, s.versioner, opts)
	if err != nil {
		return err
	}
	snapshot, err := s.state(store.Revision(revision), sc, start, opts)
	if err != nil {
		return err
	}
	page, err := s.fill(into, snapshot, sc, start, opts.Predicate)
	if err != nil {
		return err
	}
	next, remaining, err := storage.PrepareContinueToken(page.last, sc.prefix, int64(snapshot.Revision()), page.count, page.more, opts)
	if err != nil {
		return err
	}
	if page.more {
		s.Pins.keep(snapshot)
	}
	return s.versioner.UpdateList(list, uint64(snapshot.Revision()), next, remaining)
}

// state is the snapshot that a list wants: the newest one if revision is 0.
func (s *Storage) state(revision store.Revision, sc scope, start string, opts storage.ListOptions) (*store.Snapshot, error) {
	now := s.Store.Snapshot()
	if revision == 0 {
		if opts.Predicate.Continue != "" {
			return now, nil
		}
		return now, s.atLeast(opts.ResourceVersion, now.Revision())
	}
	if then := s.Pins.find(revision); then != nil {
		return then, nil
	}
	then, err := s.Store.At(revision)
	switch {
	case errors.Is(err, store.ErrFuture):
		return nil, storage.NewTooLargeResourceVersionError(uint64(revision), uint64(now.Revision()), 1)
	case errors.Is(err, store.ErrCompacted):
		return nil, expired(sc, start)
	}
	return then, err
}

// expired tells a client that the revision of its list is gone. Who was in the middle of one is told how to go on with
// the newest revision, if that is good enough.
func expired(sc scope, start string) error {
	if start == "" {
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	next, err := storage.EncodeContinue(start, sc.prefix, -1)
	if err != nil {
		return apierrors.NewResourceExpired("The provided continue parameter is too old.")
	}
	e := apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the " +
		"remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were " +
		"created, modified, or deleted between the time the first chunk was returned and now may show up in the list.")
	e.ErrStatus.ListMeta.Continue = next
	return e
}

// A pageOf a list tells where it ended.
type pageOf struct {
	last  string // key of the last object looked at
	count int64  // how many there are from its start on, whether selected or not
	more  bool
}

// fill adds to the items what the scope and the predicate select, from start on, as far as the limit allows.
func (s *Storage) fill(to items, snapshot *store.Snapshot, sc scope, start string, p storage.SelectionPredicate) (pageOf, error) {
	var page pageOf
	all := p.Empty()
	if all && sc.Namespace == "" && !sc.single {
		to.grow(snapshot.Len(s.Kind), p.Limit)
	}
	for o := range s.objects(snapshot, sc, start) {
		if page.more {
			page.count++
			continue
		}
		if p.Limit > 0 && int64(to.Len()) == p.Limit {
			page.more = true
			page.count++
			if !all {
				break // nobody is told how many remain
			}
			continue
		}
		page.last = s.keyOf(o)
		page.count++
		if err := s.add(to, o, p, all); err != nil {
			return page, fmt.Errorf("select %s: %w", page.last, err)
		}
	}
	return page, nil
}

// objects are those of the scope, from the key start on.
func (s *Storage) objects(snapshot *store.Snapshot, sc scope, start string) iter.Seq[store.Object] {
	return func(yield func(store.Object) bool) {
		first := store.Key{Kind: s.Kind, Namespace: sc.Namespace}
		if sc.single {
			first.Name = sc.name
			if o, ok := snapshot.Get(first); ok {
				yield(o)
			}
			return
		}
		if start != "" {
			first = s.split(start)
		}
		for o := range snapshot.From(first) {
			if sc.Namespace != "" && o.GetNamespace() != sc.Namespace || !yield(o) {
				return
			}
		}
	}
}

// items is the slice of items in a list object.
type items struct{ reflect.Value }

func newItems(list runtime.Object) (items, error) {
	p, err := meta.GetItemsPtr(list)
	if err != nil {
		return items{}, err
	}
	v := reflect.ValueOf(p).Elem()
	if v.Kind() != reflect.Slice || v.Type().Elem().Kind() != reflect.Struct {
		return items{}, fmt.Errorf("list into a %T: its items are not a slice of structs", list)
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // an empty list has an empty array, not none
	return items{v}, nil
}

// grow makes room for n items, or as many as the limit allows.
func (to items) grow(n int, limit int64) {
	if limit > 0 {
		n = min(n, int(limit))
	}
	to.Set(reflect.MakeSlice(to.Type(), 0, n))
}

// add appends o, as it is served, if p selects it.
func (s *Storage) add(to items, o store.Object, p storage.SelectionPredicate, all bool) error {
	served := o
	if s.Convert != nil {
		var err error
		if served, err = s.show(o); err != nil {
			return err
		}
	}
	if !all {
		if ok, err := p.Matches(served); !ok || err != nil {
			return err
		}
	}
	if served == o {
		return to.add(o)
	}
	return to.put(served)
}

// put appends o itself.
func (to items) put(o store.Object) error {
	n := to.Len()
	to.Grow(1)
	to.SetLen(n + 1)
	to.Index(n).Set(reflect.ValueOf(o).Elem())
	return nil
}

// add appends a private copy of o.
func (to items) add(o store.Object) error {
	n := to.Len()
	to.Grow(1)
	to.SetLen(n + 1)
	return hand(o, to.Index(n).Addr().Interface().(runtime.Object))
}
