package kubestore

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Watch implements storage.Interface. What a watch has yet to send is not queued: it holds a revision. So a slow one
// costs nothing, and is told with 410 when the store no longer keeps what it has not seen.
func (s *Storage) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	sc, err := s.scope(key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	from, err := s.versioner.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	asked := opts.SendInitialEvents
	w := &watcher{
		s: s, sc: sc, predicate: opts.Predicate, all: opts.Predicate.Empty(), from: store.Revision(from),
		initial:   asked == nil && from == 0 || asked != nil && *asked,
		mark:      asked != nil && *asked && opts.Predicate.AllowWatchBookmarks,
		progress:  opts.ProgressNotify,
		bookmarks: opts.ProgressNotify || opts.Predicate.AllowWatchBookmarks,
		out:       make(chan watch.Event, 16),
	}
	if from == 0 && !w.initial {
		w.from = s.Store.Snapshot().Revision()
	}
	w.ctx, w.cancel = context.WithCancel(ctx)
	s.shared.join()
	go w.run()
	utilflowcontrol.WatchInitialized(ctx)
	return w, nil
}

// A watcher follows the store until its context ends, it is stopped, or it fails.
type watcher struct {
	s         *Storage
	ctx       context.Context
	cancel    context.CancelFunc
	sc        scope
	predicate storage.SelectionPredicate
	all       bool // the predicate selects everything
	from      store.Revision
	initial   bool // send what there is, first
	mark      bool // then say that this was all
	progress  bool // send a bookmark when Storage.RequestWatchProgress asks for it
	bookmarks bool // send one now and then
	out       chan watch.Event
}

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

func (w *watcher) run() {
	defer close(w.out)
	defer w.s.shared.leave()
	defer w.cancel()
	err := w.start()
	if err == nil {
		err = w.follow()
	}
	if err != nil && w.ctx.Err() == nil {
		w.send(watch.Event{Type: watch.Error, Object: w.failure(err)})
	}
}

// errStopped ends a watch of which nobody wants to hear more.
var errStopped = errors.New("the watch was stopped")

func (w *watcher) send(e watch.Event) error {
	select {
	case w.out <- e:
		return nil
	case <-w.ctx.Done():
		return errStopped
	case <-w.s.Closing:
		w.cancel()
		return errStopped
	}
}

// start sends what a new watch receives before any change.
func (w *watcher) start() error {
	if w.initial {
		snapshot := w.s.Store.Snapshot()
		if w.from > snapshot.Revision() {
			return store.ErrFuture
		}
		for o := range w.s.objects(snapshot, w.sc, "") {
			served, ok, err := w.selects(o)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if served == o {
				served = Private(o)
			}
			if err := w.send(watch.Event{Type: watch.Added, Object: served}); err != nil {
				return err
			}
		}
		w.from = snapshot.Revision()
	}
	if w.mark {
		return w.bookmark(true)
	}
	return nil
}

// follow sends changes and bookmarks, until the watch ends.
func (w *watcher) follow() error {
	due := newDue(w.ctx, w.bookmarks, w.s.Bookmarks)
	defer due.stop()
	var asked <-chan struct{}
	if w.progress {
		asked = w.s.progress.next()
	}
	tell := false
	for {
		b, err := w.s.Store.Since(w.from, w.sc.Query)
		if err != nil {
			return err
		}
		if err := w.deliver(b.Deltas); err != nil {
			return err
		}
		w.from = b.Upto
		if tell {
			if err := w.bookmark(false); err != nil {
				return err
			}
			tell = false
		}
		if b.More == nil {
			continue
		}
		select {
		case <-b.More:
		case <-due.C():
			due.again()
			tell = true
		case <-asked:
			asked = w.s.progress.next()
			tell = true
		case <-w.ctx.Done():
			return errStopped
		case <-w.s.Closing:
			w.cancel()
			return errStopped
		}
	}
}

func (w *watcher) deliver(ds []store.Delta) error {
	for _, d := range ds {
		for _, c := range d.Changes {
			e, ok, err := w.event(c)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if err := w.send(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// event is what c is to this watch: an object that comes to be selected was added, one that ceases to be was deleted.
func (w *watcher) event(c store.Change) (watch.Event, bool, error) {
	new, is, err := w.selects(c.New)
	if err != nil {
		return watch.Event{}, false, err
	}
	old, was, err := w.selects(c.Old)
	switch {
	case err != nil:
		return watch.Event{}, false, err
	case is && was:
		return watch.Event{Type: watch.Modified, Object: w.s.shared.of(c, new, false)}, true, nil
	case is:
		return watch.Event{Type: watch.Added, Object: w.s.shared.of(c, new, false)}, true, nil
	case was:
		return watch.Event{Type: watch.Deleted, Object: w.s.shared.of(c, old, true)}, true, nil
	}
	return watch.Event{}, false, nil
}

// selects tells whether o, which is stored, or nil, is what this watch is about, and how it is served: o itself if that is
// the same.
func (w *watcher) selects(o store.Object) (served store.Object, ok bool, err error) {
	if o == nil || !w.sc.has(o) {
		return nil, false, nil
	}
	served = o
	if w.s.Convert != nil {
		if served, err = w.s.show(o); err != nil {
			return nil, false, err
		}
	}
	if w.all {
		return served, true, nil
	}
	ok, err = w.predicate.Matches(served)
	return served, err == nil && ok, nil
}

// bookmark tells how far the watch is. The last of the initial events is marked as that.
func (w *watcher) bookmark(last bool) error {
	o := w.s.New()
	if err := w.s.versioner.UpdateObject(o, uint64(w.from)); err != nil {
		return fmt.Errorf("bookmark revision %d: %w", w.from, err)
	}
	if last {
		if err := storage.AnnotateInitialEventsEndBookmark(o); err != nil {
			return err
		}
	}
	return w.send(watch.Event{Type: watch.Bookmark, Object: o})
}

// failure is what a client is told when its watch cannot go on.
func (w *watcher) failure(err error) runtime.Object {
	switch {
	case errors.Is(err, store.ErrCompacted):
		err = apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d", w.from))
	case errors.Is(err, store.ErrFuture):
		err = storage.NewTooLargeResourceVersionError(uint64(w.from), uint64(w.s.Store.Snapshot().Revision()), 1)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	result := status.Status()
	return &result
}
