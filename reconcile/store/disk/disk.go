// Package disk is the store's Backend on Badger. It keeps the newest version of each object, and no history.
//
//	o/<group>/<kind>/<namespace>/<name>   an object: revision, encoded object, checksum; without the second it is gone
//	b/<key>                               a record beside the objects: revision, value, checksum; without the second it is gone
//	m/state                               format, last revision, sum over all live objects
//	x/<revision><n>                       a piece of a transaction that is above Badger's limit
//	m/closing                             that transaction is whole: its commit point
//
// A group of deltas is one transaction of Badger, and one wait for the disk. One that Badger does not take at once is
// written in pieces first, then closed by one record, and only then moved to where the objects are; a move that was cut
// short is done again by Open, and pieces that were not closed are removed.
//
// Badger opens without a word when a flipped bit costs it half of what it kept. So each value has a checksum, the state
// has a sum over key and revision of each live object, and a file of its own has the last revision that was acknowledged.
// What does not add up is a *Damage, which says what is missing.
package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Codec turns objects into bytes and back. It is called from several goroutines at once. Decode must not keep its
// argument. What it returns need not have a resourceVersion.
type Codec interface {
	Encode(store.Object) ([]byte, error)
	Decode([]byte) (store.Object, error)
}

// Options of a Backend. The zero value is what a daemon uses.
type Options struct {
	AcceptLoss bool          // open a damaged store without what is missing, which is logged
	Reserve    int64         // bytes of disk that stay free; 0: 96 MiB
	Deadline   time.Duration // for each wait for the disk; 0: 30 s
	Log        *slog.Logger  // nil: nowhere
}

func (o Options) complete() Options {
	if o.Reserve == 0 {
		o.Reserve = Reserve
	}
	if o.Deadline == 0 {
		o.Deadline = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

var (
	ErrInUse  = errors.New("another process uses the store")
	ErrFormat = errors.New("the store was written by a newer Mainstay")
)

// Backend implements store.Backend. After an Append that failed, but for want of room, it takes no more until it is opened
// again.
type Backend struct {
	dir   string
	opts  Options
	codec Codec

	lock   *os.File
	acked  *revisionFile
	roster *roster
	db     *badger.DB
	broken atomic.Pointer[error] // why nothing more is written
	hung   atomic.Bool           // Badger may never answer: leave it alone
	ready  atomic.Bool           // opened: what Badger logs as an error stops the store

	accepted *Damage

	commit func(*badger.Txn, func(error)) // Badger's CommitWith, but for tests

	mu    sync.Mutex // held through an Append
	state state      // what Badger has
	gone  [][]byte   // keys of objects that are gone and have a record that says so
	kept  int        // so many of them could not be deleted yet when it was tried last

	looked bool // Run's: records beside the objects that are gone were looked for
}

// Open opens or creates the store in the folder dir, finishes or removes what a crash cut short, and checks that nothing
// acknowledged is missing. Whether each object is whole shows in Load. The error may be a *Damage, or wrap ErrInUse,
// ErrFormat or store.ErrNoRoom.
func Open(dir string, codec Codec, opts Options) (*Backend, error) {
	b := &Backend{dir: dir, opts: opts.complete(), codec: codec, commit: (*badger.Txn).CommitWith}
	if err := b.start(); err != nil {
		return nil, err
	}
	return b, nil
}

// start is Open.
func (b *Backend) start() (err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	if err := MakeRoom(b.dir); err != nil {
		return err
	}
	if b.lock, err = lock(filepath.Join(b.dir, "lock")); err != nil {
		return fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	if err := b.open(); err != nil {
		return errors.Join(err, b.release())
	}
	return nil
}

func (b *Backend) open() error {
	if err := roomFor(b.dir, min(opening, b.opts.Reserve), b.opts.Reserve); err != nil { // Badger dies on a full disk
		return fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	found, err := b.openRevisionFile()
	if err != nil {
		return err
	}
	if b.roster, err = openRoster(filepath.Join(b.dir, "roster")); err != nil {
		return fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	err = b.within(4*b.opts.Deadline, "open", func() error { // it reads its logs
		more, err := b.openBadger()
		found = append(found, more...)
		return err
	})
	if err != nil {
		return err
	}
	if b.opts.AcceptLoss {
		err = b.accept(found)
	} else {
		err = b.recover()
	}
	if damage, ok := errors.AsType[*Damage](err); ok {
		return b.explain(damage.Found)
	}
	if err != nil {
		return err
	}
	if err := syncFolders(b.dir, b.folder()); err != nil {
		return err
	}
	b.ready.Store(true)
	return errors.Join(b.acked.write(b.state.revision), b.acked.sync())
}

// folder is Badger's.
func (b *Backend) folder() string { return filepath.Join(b.dir, "badger") }

// stop remembers why nothing more may be written.
func (b *Backend) stop(err error) error {
	if err != nil {
		b.broken.CompareAndSwap(nil, &err)
	}
	return err
}

// stopped is why nothing more may be written, nil if it may.
func (b *Backend) stopped() error {
	if err := b.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// Close implements store.Backend. Run must have ended.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop(store.ErrStopped)
	return b.release()
}

// release gives back what open took. What hangs is left to the end of the process, and so is then the lock.
func (b *Backend) release() error {
	var err error
	if !b.hung.Load() && b.db != nil {
		err = b.within(b.opts.Deadline, "close the store", b.db.Close)
	}
	if b.hung.Load() {
		return errors.Join(err, fmt.Errorf("the store in %s: %w", b.dir, errHung))
	}
	if b.acked != nil {
		err = errors.Join(err, b.acked.close())
	}
	if b.roster != nil {
		err = errors.Join(err, b.roster.close())
	}
	return errors.Join(err, b.lock.Close())
}
