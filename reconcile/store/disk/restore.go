package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Restore fills a new store with objects that keep their revisions. It is of no use until Finish, so fill a folder that is
// put in place when that is done.
type Restore struct {
	b    *Backend
	rs   []record
	size int
	st   state
}

// NewRestore begins a store in dir, which is not there yet.
func NewRestore(dir string, codec Codec, opts Options) (*Restore, error) {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("restore into %s: there is something", dir), err)
	}
	b, err := Open(dir, codec, opts)
	if err != nil {
		return nil, err
	}
	return &Restore{b: b}, nil
}

// Add adds an object, as it is. The error may wrap store.ErrNoRoom.
func (r *Restore) Add(o store.Object) error {
	data, err := r.b.codec.Encode(o)
	if err != nil {
		return fmt.Errorf("encode %s: %w", keyOf(o), err)
	}
	key, revision := objectKey(keyOf(o)), store.RevisionOf(o)
	r.rs = append(r.rs, record{key, objectValue(key, revision, data)})
	r.st.sum += fingerprint(key, revision)
	r.st.revision = max(r.st.revision, revision)
	if r.size += len(data); r.size < 1<<20 {
		return nil
	}
	return r.flush()
}

func (r *Restore) flush() error {
	if err := r.b.room(2 * int64(r.size)); err != nil {
		return err
	}
	if err := r.b.putInParts(r.rs); err != nil {
		return err
	}
	err := r.b.roster.write(r.st, r.rs)
	r.rs, r.size = nil, 0
	return err
}

// Finish makes it a store that is beyond the revision of the backup, and beyond least: so no revision is given out twice.
func (r *Restore) Finish(revision, least store.Revision) error {
	err := r.flush()
	if err == nil {
		r.st.revision = max(r.st.revision, revision, least) + beyond
		r.b.state = r.st
		err = r.b.putInParts([]record{{[]byte(stateAt), r.st.encode()}})
	}
	if err == nil {
		err = errors.Join(r.b.acked.write(r.st.revision), r.b.roster.write(r.st, nil))
	}
	return errors.Join(err, r.b.Close())
}

// Abort ends it without a store.
func (r *Restore) Abort() error { return r.b.Close() }

// HasRoom is store.ErrNoRoom if the disk has not that many bytes beside the reserve.
func (b *Backend) HasRoom(bytes int64) error { return b.room(bytes) }

// LastRevision is how far the store in dir was acknowledged, as far as that can be read: 0 if not.
func LastRevision(dir string) store.Revision {
	a, err := readRevisionFile(revisionPath(dir))
	if err != nil {
		return 0
	}
	_ = a.f.Close()
	return a.revision
}
