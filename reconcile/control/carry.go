package control

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Carrier writes plans. It is the one way by which the inside of Mainstay writes to the store: controllers, the scheduler
// and the nodes.
type Carrier struct{ scheme *scheme.Scheme }

// NewCarrier makes a Carrier.
func NewCarrier(s *scheme.Scheme) *Carrier { return &Carrier{s} }

// Carry writes p, all of it or, if it returns an error, nothing. It was planned in w by the named writer. ErrConflict: what
// it was planned on has changed, plan again.
func (c *Carrier) Carry(tx *store.Tx, w World, by string, p Plan) error {
	for _, write := range p.Writes {
		if err := c.check(tx, w, write); err != nil {
			return err
		}
	}
	for _, write := range p.Writes {
		if err := c.write(tx, w, write); err != nil {
			return fmt.Errorf("carry out a plan of %s: %w", by, err)
		}
	}
	for _, e := range p.Events {
		if err := c.record(tx, w, by, e); err != nil {
			return fmt.Errorf("record an event of %s: %w", by, err)
		}
	}
	return nil
}

// check refuses a write whose ground has shifted. Stored objects never change, so the same object means no change: also
// within a transaction, where what was just written has no revision yet.
func (c *Carrier) check(tx *store.Tx, w World, write Write) error {
	k := w.Key(write.Object)
	live, ok := tx.Get(k)
	shifted := fmt.Errorf("%s %s: %w", write.Op, k, store.ErrConflict)
	switch write.Op {
	case Create:
		if k.Namespace != "" && !open(tx, k.Namespace) {
			return fmt.Errorf("create %s: %w", k, errClosed)
		}
		if _, planned := w.Get(k); planned {
			return fmt.Errorf("create %s: %w", k, store.ErrExists) // planning again would say the same
		}
		if ok {
			return shifted
		}
	case Delete:
		if !ok || live.GetUID() != write.Object.GetUID() {
			return shifted
		}
	default:
		planned, was := w.Get(k)
		if !ok || !was || live != planned {
			return shifted
		}
	}
	return nil
}

// errClosed: nothing can be made in a namespace that is not there or on its way out. Whoever wanted to is on its way out too.
var errClosed = errors.New("its namespace is gone or going")

// open tells whether objects may be made in a namespace.
func open(tx *store.Tx, namespace string) bool {
	ns, ok := store.Get[*corev1.Namespace](tx.Snapshot, "", namespace)
	return ok && ns.DeletionTimestamp == nil
}

func (c *Carrier) write(tx *store.Tx, w World, write Write) error {
	o := write.Object
	kind := c.scheme.Of(o)
	if kind == nil {
		return fmt.Errorf("%s %T: no such kind", write.Op, o)
	}
	if p, ok := o.(*corev1.Pod); ok && write.Op == Create {
		if err := admit.RuntimeClass(tx.Snapshot, p); err != nil {
			return err
		}
	}
	if write.Op == Create {
		kind.PrepareCreate(o, UID(w.Rand), w.Now)
		if err := admitted(tx, o); err != nil {
			return err
		}
		return tx.Create(o)
	}
	live, _ := tx.Get(w.Key(o))
	if write.Op == Delete {
		return Remove(tx, kind, live, write.Propagation, w.Now)
	}
	kind.PrepareInside(o, live)
	if scheme.Gone(o) {
		return tx.Delete(w.Key(o))
	}
	return tx.Update(o)
}

// admitted gives a new object what the state of the cluster brings it.
func admitted(tx *store.Tx, o store.Object) error {
	if p, ok := o.(*corev1.Pod); ok {
		return admit.Account(tx.Snapshot, p)
	}
	return nil
}

// Remove deletes live, which is of that kind, the way that its kind is deleted: at once, or by marking it as ending.
func Remove(tx *store.Tx, kind *scheme.Kind, live store.Object, propagation metav1.DeletionPropagation, now time.Time) error {
	var opts metav1.DeleteOptions
	if propagation != "" {
		opts.PropagationPolicy = &propagation
	}
	next, gone, err := kind.Delete(live, opts, now)
	switch {
	case err != nil:
		return err
	case gone:
		return tx.Delete(tx.Key(live))
	case next != live:
		return tx.Update(next)
	}
	return nil
}

// record counts an event that is there already, and creates one that is not. What is about an object whose namespace is
// gone is not recorded.
func (c *Carrier) record(tx *store.Tx, w World, by string, e Event) error {
	o := NewEvent(w, by, e)
	if !open(tx, o.Namespace) {
		return nil
	}
	live, ok := store.Get[*corev1.Event](tx.Snapshot, o.Namespace, o.Name)
	if !ok {
		c.scheme.Of(o).PrepareCreate(o, UID(w.Rand), w.Now)
		return tx.Create(o)
	}
	next := live.DeepCopy()
	next.Count++
	next.LastTimestamp = o.LastTimestamp
	if err := tx.Update(next); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// UID makes a random (version 4) UUID.
func UID(r *rand.Rand) types.UID {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
