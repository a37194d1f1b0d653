package kubestore

import (
	"bytes"
	"io"
	"sync"
	"weak"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// How many of the newest changes are remembered.
const remembered = 64

// encodings let all watches of one kind share what a change looks like in each encoding. It holds on to nothing: what no
// watch has in hand is the garbage collector's, and made again if a slow one comes.
type encodings struct {
	mu       sync.Mutex
	watchers int
	slots    [remembered]struct {
		revision store.Revision
		old      bool
		object   weak.Pointer[encoded]
	}
}

func (e *encodings) join() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers++
}

func (e *encodings) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers--
}

// of is o, which is c's old or new state as it is served, as a watch sends it: with c's revision, and shared with the other watches if
// there are any.
func (e *encodings) of(c store.Change, o store.Object, old bool) runtime.Object {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watchers < 2 {
		return at(c.Revision, o)
	}
	slot := &e.slots[c.Revision%remembered]
	if slot.revision == c.Revision && slot.old == old {
		if known := slot.object.Value(); known != nil {
			return known
		}
	}
	shared := &encoded{object: at(c.Revision, o)}
	slot.revision, slot.old, slot.object = c.Revision, old, weak.Make(shared)
	return shared
}

// at is a private copy of o that bears revision r.
func at(r store.Revision, o store.Object) store.Object {
	p := Private(o)
	p.SetResourceVersion(r.String())
	return p
}

// encoded is an object that is encoded once for each way to encode it.
type encoded struct {
	object store.Object // nobody writes to it

	mu   sync.Mutex
	done map[runtime.Identifier]*encoding
}

type encoding struct {
	once sync.Once
	data []byte
	err  error
}

var _ runtime.CacheableObject = (*encoded)(nil)

// CacheEncode implements runtime.CacheableObject.
func (e *encoded) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	d := e.encoding(id)
	d.once.Do(func() {
		var b bytes.Buffer
		d.err = encode(Private(e.object), &b)
		d.data = b.Bytes()
	})
	if d.err != nil {
		return d.err
	}
	if splice, ok := w.(runtime.Splice); ok {
		splice.Splice(d.data)
		return nil
	}
	_, err := w.Write(d.data)
	return err
}

func (e *encoded) encoding(id runtime.Identifier) *encoding {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, ok := e.done[id]
	if !ok {
		if e.done == nil {
			e.done = map[runtime.Identifier]*encoding{}
		}
		d = &encoding{}
		e.done[id] = d
	}
	return d
}

// GetObject implements runtime.CacheableObject.
func (e *encoded) GetObject() runtime.Object { return Private(e.object) }

// GetObjectMeta lets meta.Accessor read the metadata.
func (e *encoded) GetObjectMeta() metav1.Object { return Private(e.object) }

// GetObjectKind implements runtime.Object.
func (e *encoded) GetObjectKind() schema.ObjectKind { return Private(e.object).GetObjectKind() }

// DeepCopyObject implements runtime.Object.
func (e *encoded) DeepCopyObject() runtime.Object { return e.object.DeepCopyObject() }
