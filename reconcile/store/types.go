// Package store is the waist of Mainstay: immutable objects, numbered revisions, snapshots that cost nothing, and
// watches that meet them without a gap. Everything else is its guest.
//
// Objects in the store are shared and never change. DeepCopy before you edit; what you hand to a Tx is the store's.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// An Object is a Kubernetes object, typed or unstructured.
type Object interface {
	metav1.Object
	runtime.Object
}

// A Revision numbers each change to the store, one line of numbers for all kinds. It is the objects' resourceVersion.
// 0 is the empty store.
type Revision uint64

func (r Revision) String() string { return strconv.FormatUint(uint64(r), 10) }

// ParseRevision reads a resourceVersion; "" is 0.
func ParseRevision(s string) (Revision, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse resource version %q: not a number", s)
	}
	return Revision(n), nil
}

// RevisionOf is the revision at which o was last written; 0 if o was never in a store.
func RevisionOf(o metav1.Object) Revision {
	r, _ := ParseRevision(o.GetResourceVersion())
	return r
}

// A Key names an object. Namespace is empty for kinds of the cluster.
type Key struct {
	Kind            schema.GroupKind
	Namespace, Name string
}

// String is how people name an object: "Deployment hello/web", "Node mine".
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Kind.Kind + " " + k.Name
	}
	return k.Kind.Kind + " " + k.Namespace + "/" + k.Name
}

// Compare orders keys by kind, group, namespace and name.
func (k Key) Compare(o Key) int {
	for _, c := range []int{
		strings.Compare(k.Kind.Kind, o.Kind.Kind), strings.Compare(k.Kind.Group, o.Kind.Group),
		strings.Compare(k.Namespace, o.Namespace), strings.Compare(k.Name, o.Name),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

// path is the key's place in the tree of its kind. Its order is that of kube-apiserver's lists.
func (k Key) path() string { return k.Namespace + "/" + k.Name }

// A Change is what happened to one object. Old is nil for a creation, New for a deletion.
type Change struct {
	Revision Revision
	Old, New Object
}

// Object is the newer of the two states, or the last one of what is gone.
func (c Change) Object() Object {
	if c.New != nil {
		return c.New
	}
	return c.Old
}

// A Delta is all that one transaction did. The revisions of its changes are consecutive, and all of them become visible
// together at the last, which is Revision; without changes, that is the revision before.
type Delta struct {
	Revision Revision
	Why      string
	Changes  []Change
	Records  []Record
}

// A Record is kept beside the objects, with the transaction that wrote it or not at all. It is no object: it has no revision,
// nobody follows it, and it is not in memory but read when it is asked for. An empty Value says that there is none any more.
type Record struct {
	Key   string
	Value []byte
}

// Records is where records are read: those of all that is visible, and maybe of what is about to be.
type Records interface {
	// Record is the value at key, nil if there is none. It is the caller's.
	Record(key string) ([]byte, error)
	// RecordsUnder are the records whose keys begin with prefix, by key. An error ends the sequence.
	RecordsUnder(prefix string) iter.Seq2[Record, error]
}

// A Reader can be read, and followed without a gap: take a Snapshot, then Watch from its Revision.
type Reader interface {
	// Snapshot is the newest durable state.
	Snapshot() *Snapshot

	// Since returns what happened after from, oldest first, restricted to what q selects by Kind and Namespace (the rest
	// of q is not looked at). A delta of which from is a part is returned without the changes up to from; deltas of which
	// nothing is selected are left out. Batch.Upto is where to go on; Batch.More is closed when there may be more.
	// ErrCompacted: from is too old, take a new snapshot. ErrFuture: from was never reached.
	Since(from Revision, q Query) (Batch, error)
}

// A Batch is what Since returns.
type Batch struct {
	Deltas []Delta
	Upto   Revision        // all up to here was considered
	More   <-chan struct{} // closed when there may be more: at the next change of that kind after Upto
}

// A Store is a Reader that can be written to.
type Store interface {
	Reader
	Records

	// Update runs fn alone on the newest state and makes what fn did durable, then visible, all of it or nothing. So
	// transactions are serialisable. fn does no I/O, and its Tx must not outlive it. An error of fn is returned as it is,
	// and nothing is changed. The revision is that of the delta; if fn changed nothing, the one it saw, and that is
	// durable too. ErrNoRoom: the disk is nearly full, nothing was changed, try again. ErrStopped: a write failed, the
	// store takes no more until it is opened again, reading goes on.
	Update(ctx context.Context, why string, fn func(*Tx) error) (Revision, error)
}

// A Backend keeps deltas. Append and Load are called from one goroutine at a time.
type Backend interface {
	// Append adds ds after the revision after, all of them or none. They are durable when it returns nil. ErrFenced:
	// after is not the end of what is kept. ErrNoRoom: nothing was written, try again. ErrUnstorable: nothing was written,
	// and never will be. After any other error it is not known what was written. It must not wait for ever.
	Append(ctx context.Context, after Revision, ds []Delta) error

	// Load returns the last revision and every live object, in any order, each with its resourceVersion set. An error
	// ends the sequence.
	Load() (Revision, iter.Seq2[Object, error])

	// Records may be called while Append is.
	Records

	Close() error
}

var (
	ErrNotFound  = errors.New("not found")
	ErrExists    = errors.New("already exists")
	ErrConflict  = errors.New("changed meanwhile")
	ErrCompacted = errors.New("that revision is too old")
	ErrFuture    = errors.New("that revision is not reached yet")
	ErrFenced    = errors.New("the store has moved on")
	ErrNoRoom    = errors.New("the disk is nearly full")

	// ErrUnstorable is said of an object that is too large, or cannot be encoded. All transactions that were to become
	// durable with it fail with it; the store goes on.
	ErrUnstorable = errors.New("the store cannot keep such an object")

	ErrStopped = errors.New("a write failed: the store takes no more writes until Mainstay is started again")
)
