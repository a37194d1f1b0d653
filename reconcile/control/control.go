// Package control runs controllers. A controller is a pure function with a name: from a snapshot and a key to a plan. The
// engine carries plans out, each in one transaction, and plans a key again on a snapshot that holds its last plan. So
// there are no caches, no expectations, and no races between them.
package control

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Controller decides about one kind of thing. Its methods are pure; Plan is asked often and answers with an empty plan
// when all is as it should be.
type Controller interface {
	// Name is also the name of its field manager.
	Name() string
	// Watches says which changes wake which keys.
	Watches() []Watch
	// Owns are the only things that its plans may write.
	Owns() []Owned
	// Plan says what to do about key, which may be gone.
	Plan(w World, key store.Key) (Plan, error)
}

// A Starter is a Controller with something to plan although nothing is there yet.
type Starter interface {
	Controller
	FirstKey() store.Key
}

// A Watch maps changes of one kind to the keys to plan. The empty Kind is any kind.
type Watch struct {
	Kind schema.GroupKind
	// Keys of a change, looking around in the state after it; nil: the object itself.
	Keys func(s *store.Snapshot, c store.Change) []store.Key
}

// Part of an object.
type Part string

const (
	Main     Part = ""         // all but the status
	Status   Part = "status"   // the status only
	Existing Part = "deletion" // whether it is there at all: the owner may only delete
)

// Owned is something that a controller may write.
type Owned struct {
	Kind schema.GroupKind // empty: any
	Part Part
}

// World is all that a decision may depend on.
type World struct {
	*store.Snapshot
	Now  time.Time
	Rand *rand.Rand // names and UIDs come from here

	Admission *admit.Chain // what is asked of objects that are created; nil: nothing
}

// A Trial tries what a plan is about to create, in a state in which what it tried before counts.
type Trial struct {
	chain *admit.Chain
	state *store.Snapshot
}

// Trial begins one in w.
func (w World) Trial() *Trial { return &Trial{w.Admission, w.Snapshot} }

// Create tells why o, which is not written to, would not be admitted: nil if it would. It is asked again when it is written.
func (t *Trial) Create(o store.Object) error {
	over, err := t.chain.Try(t.state, o)
	if err == nil {
		t.state = over
	}
	return err
}

// A Plan is one transaction, and when to look again.
type Plan struct {
	Writes []Write
	Events []Event
	After  time.Duration // 0: when woken
}

// Op is what a write does.
type Op string

const (
	Create       Op = "create"
	Update       Op = "update"
	UpdateStatus Op = "status"
	Delete       Op = "delete"
)

// A Write is one change. Updates must be copies of what the snapshot holds, edited: they carry its revision, and the plan
// is made anew if the live object has another one by then. Deletions only ask that it be the same object.
type Write struct {
	Op          Op
	Object      store.Object
	Why         string
	Propagation metav1.DeletionPropagation // of a deletion; empty: background
}

func (w Write) String() string {
	return fmt.Sprintf("%s %s/%s: %s", w.Op, w.Object.GetNamespace(), w.Object.GetName(), w.Why)
}

// An Event is something that people should know about an object.
type Event struct {
	About   store.Object
	Type    string // corev1.EventTypeNormal or EventTypeWarning
	Reason  string
	Message string
}

// Create adds the creation of o.
func (p *Plan) Create(o store.Object, why string) {
	p.Writes = append(p.Writes, Write{Op: Create, Object: o, Why: why})
}

// Update adds the replacement of what o is an edited copy of.
func (p *Plan) Update(o store.Object, why string) {
	p.Writes = append(p.Writes, Write{Op: Update, Object: o, Why: why})
}

// Status adds the replacement of the status of what o is an edited copy of.
func (p *Plan) Status(o store.Object, why string) {
	p.Writes = append(p.Writes, Write{Op: UpdateStatus, Object: o, Why: why})
}

// Delete adds the deletion of o, with the grace and finalizers that its kind has.
func (p *Plan) Delete(o store.Object, why string) {
	p.Writes = append(p.Writes, Write{Op: Delete, Object: o, Why: why})
}

// Event adds a normal event.
func (p *Plan) Event(about store.Object, reason, format string, args ...any) {
	p.Events = append(p.Events, Event{about, corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)})
}

// Warn adds a warning.
func (p *Plan) Warn(about store.Object, reason, format string, args ...any) {
	p.Events = append(p.Events, Event{about, corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)})
}

// Again asks to be planned again after d, or sooner if asked before.
func (p *Plan) Again(d time.Duration) {
	if d > 0 && (p.After == 0 || d < p.After) {
		p.After = d
	}
}

// ControllerOf is the key of the object that controls o, if that is of the given kind.
func ControllerOf(o metav1.Object, kind schema.GroupKind) (store.Key, bool) {
	r := metav1.GetControllerOf(o)
	if r == nil || r.Kind != kind.Kind {
		return store.Key{}, false
	}
	if gv, err := schema.ParseGroupVersion(r.APIVersion); err != nil || gv.Group != kind.Group {
		return store.Key{}, false
	}
	return store.Key{Kind: kind, Namespace: o.GetNamespace(), Name: r.Name}, true
}

// Controlled wakes the owner, of the given kind, of what changed: the one before the change and the one after.
func Controlled(kind, owner schema.GroupKind) Watch {
	return Watch{Kind: kind, Keys: func(_ *store.Snapshot, c store.Change) []store.Key {
		var keys []store.Key
		for _, o := range []store.Object{c.Old, c.New} {
			if o == nil {
				continue
			}
			if k, ok := ControllerOf(o, owner); ok && (len(keys) == 0 || keys[0] != k) {
				keys = append(keys, k)
			}
		}
		return keys
	}}
}
