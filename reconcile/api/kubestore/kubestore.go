// Package kubestore is the storage.Interface of k8s.io/apiserver over the store: one Storage per resource, all of them
// on one store and one line of revisions. It keeps no object of its own: what apiserver reads is a private copy of the
// top of a stored object, with everything below it shared, and what apiserver writes is copied before it is stored.
package kubestore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Store is what a Storage stands on.
type Store interface {
	store.Store

	// At is the state after revision r. store.ErrCompacted if it is too old, store.ErrFuture if it was never reached.
	At(r store.Revision) (*store.Snapshot, error)
}

// Config is what one Storage serves, and how.
type Config struct {
	Store Store
	Kind  schema.GroupKind

	// Prefix is what all keys begin with: "/apps/deployments". It is followed by namespace and name.
	Prefix string

	// Encode writes an object that bears its kind. An update that changes nothing of what it writes is none.
	Encode func(store.Object) ([]byte, error)

	// Convert is between objects as they are stored and as they are served here. nil: they are the same.
	Convert *Conversion

	// Intern may let an object that is about to be stored share memory with others. nil does not.
	Intern func(store.Object)

	// New makes an empty object, which bookmarks carry.
	New func() runtime.Object

	// Admit is asked, inside the transaction that writes an object, whether the state allows it, and takes what that costs;
	// old is nil for a creation. It does no I/O. nil allows all.
	Admit func(tx *store.Tx, old, new store.Object) error

	// Assign gives an object that is about to be written what must be given once, such as an address, inside the
	// transaction that writes it; old is nil for a creation. nil gives nothing.
	Assign func(tx *store.Tx, old, new store.Object) error

	// Pins keep the states that continue tokens refer to. nil keeps none: then a list can be continued as long as the
	// store keeps the changes since it began.
	Pins *Pins

	// Bookmarks is how often a watch that wants them receives bookmarks.
	Bookmarks time.Duration

	// Closing ends all watches when it is closed. nil never does.
	Closing <-chan struct{}
}

// A Conversion is for kinds that are served in several versions, of which the store keeps one. Its functions may take their
// time; what they are given is not written to, and what they return is the caller's.
type Conversion struct {
	Served func(stored store.Object) (store.Object, error)
	Stored func(served store.Object) (store.Object, error)
}

// Storage implements storage.Interface. It may be used by any number of goroutines.
type Storage struct {
	Config
	versioner storage.APIObjectVersioner
	shared    encodings
	progress  signal
}

var _ storage.Interface = (*Storage)(nil)

// New makes the Storage of one resource.
func New(c Config) *Storage {
	c.Prefix = "/" + strings.Trim(c.Prefix, "/") + "/"
	return &Storage{Config: c}
}

// Versioner implements storage.Interface.
func (s *Storage) Versioner() storage.Versioner { return s.versioner }

// ReadinessCheck implements storage.Interface: a store that is open is ready.
func (s *Storage) ReadinessCheck() error { return nil }

// CompactRevision implements storage.Interface. No compaction is observed here: the store forgets by itself.
func (s *Storage) CompactRevision() int64 { return 0 }

// GetCurrentResourceVersion implements storage.Interface.
func (s *Storage) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return uint64(s.Store.Snapshot().Revision()), nil
}

// Stats implements storage.Interface. Sizes are not estimated: objects are not kept as bytes.
func (s *Storage) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{ObjectCount: int64(s.Store.Snapshot().Len(s.Kind))}, nil
}

// EnableResourceSizeEstimation implements storage.Interface and does nothing: see Stats.
func (s *Storage) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// RequestWatchProgress implements storage.Interface: watches that asked for progress receive a bookmark at once.
func (s *Storage) RequestWatchProgress(context.Context) error {
	s.progress.raise()
	return nil
}

// atLeast refuses a minimum revision that the store has not reached.
func (s *Storage) atLeast(resourceVersion string, now store.Revision) error {
	want, err := s.versioner.ParseResourceVersion(resourceVersion)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	if want > uint64(now) {
		return storage.NewTooLargeResourceVersionError(want, uint64(now), 1)
	}
	return nil
}

// refused is what apiserver shall answer when the store did not take a write.
func refused(key string, err error) error {
	switch {
	case errors.Is(err, store.ErrExists):
		return storage.NewKeyExistsError(key, 0)
	case errors.Is(err, store.ErrNotFound):
		return storage.NewKeyNotFoundError(key, 0)
	case errors.Is(err, store.ErrUnstorable):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, store.ErrNoRoom), errors.Is(err, store.ErrStopped):
		return apierrors.NewServiceUnavailable(err.Error())
	}
	return err
}
