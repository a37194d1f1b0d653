package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Carrier writes plans. It is the one way by which the inside of Mainstay writes to the store: controllers, the scheduler
// and the nodes.
type Carrier struct {
	scheme *scheme.Scheme
	chain  *admit.Chain
}

// NewCarrier makes a Carrier.
func NewCarrier(s *scheme.Scheme) *Carrier { return &Carrier{s, admit.New(s)} }

// Carry writes p, all of it or, if it returns an error, nothing. It was planned in w by the named writer. ErrConflict: what
// it was planned on has changed, plan again.
func (c *Carrier) Carry(tx *store.Tx, w World, by string, p Plan) error {
	state := tx.Snapshot // with what the plan takes of quotas
	for _, write := range p.Writes {
		if err := c.check(tx, w, write); err != nil {
			return err
		}
		if write.Op != Create {
			continue
		}
		over, err := c.admit(state, w, write.Object)
		if err != nil {
			return &Refused{write.Object, err}
		}
		state = over
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
	if write.Op == Create {
		if err := c.chain.Commit(tx, admit.For(kind, admit.Create, nil, o)); err != nil {
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

// Refused says that what a plan creates is not admitted, and why. Nothing of the plan is written.
type Refused struct {
	Object store.Object
	Err    error // an API status
}

func (r *Refused) Error() string { return "Error creating: " + r.Err.Error() }
func (r *Refused) Unwrap() error { return r.Err }

// admit makes of o what is written when it is created in s, and returns s with what that takes of quotas. What the chain says
// of a pod may not go together with what its template says, so that is looked at again.
func (c *Carrier) admit(s *store.Snapshot, w World, o store.Object) (*store.Snapshot, error) {
	kind := c.scheme.Of(o)
	if kind == nil {
		return s, fmt.Errorf("create a %T: no such kind", o)
	}
	uid := UID(w.Rand)
	o.SetUID(uid)
	kind.Default(o)
	r := admit.For(kind, admit.Create, nil, o)
	if err := c.chain.Mutate(s, r).Err(); err != nil {
		return s, err
	}
	policies := c.chain.Pure(s)
	if err := policies.MutateRequest(context.Background(), r); err != nil {
		return s, err
	}
	kind.PrepareCreate(o, uid, w.Now)
	if p, ok := o.(*corev1.Pod); ok && p.Annotations[admit.LimitedAnnotation] != "" {
		if errs := kind.Validate(o); len(errs) > 0 {
			return s, apierrors.NewInvalid(kind.GroupVersionKind.GroupKind(), o.GetName(), errs)
		}
	}
	if err := c.chain.Validate(s, r).Err(); err != nil {
		return s, err
	}
	if err := policies.ValidateRequest(context.Background(), r); err != nil {
		return s, err
	}
	over, refused := c.chain.Charge(s, r)
	return over, refused.Err()
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
