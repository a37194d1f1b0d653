package scheme

import (
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Kind is all that is known of one kind. Its methods take objects of the kind's Go type, defaulted unless they say
// otherwise, and panic at others. They are pure.
type Kind struct {
	schema.GroupVersionKind
	Plural     string // the resource: "deployments"
	Singular   string
	Short      []string // what kubectl takes too: "deploy"
	Categories []string // "all"
	Namespaced bool
	Status     bool       // it has a status, and a subresource of its own to write it
	Scale      *Scale     // nil: it has no scale subresource
	Others     []string   // other subresources that it is served with: "log"
	Versions   []*Version // more versions that it is served in; GroupVersionKind is the one that is stored

	Defined *Defined // nil: it has a Go type

	New     func() store.Object
	NewList func() runtime.Object

	generation, keepsStatus bool
	keeps                   []string

	defaults            func(store.Object)
	create              func(o store.Object, now time.Time)
	change, changeState func(new, old store.Object)
	ending              func(o store.Object, now time.Time)
	changed             func(new, old store.Object) bool
	grace               func(o store.Object, asked *int64) int64
	validate            func(store.Object) field.ErrorList
	update, status      func(new, old store.Object) field.ErrorList
	ephemeral           func(new, old store.Object) field.ErrorList
	warn                func(store.Object) []string
	header              []metav1.TableColumnDefinition
	row                 func(o store.Object, now time.Time) []any
	labels              []string
	fields              func(o store.Object, set fields.Set)
}

// Scale is where the scale subresource finds its numbers, as JSON paths.
type Scale struct {
	Replicas string // "spec.replicas"
	Status   string // "status.replicas"
	Selector string // "spec.selector"
}

// Resource is the kind's group and plural.
func (k *Kind) Resource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// Default fills in what Kubernetes fills in when o leaves it out. It is idempotent.
func (k *Kind) Default(o store.Object) { k.defaults(o) }

// Validate tells all that is wrong with o, a new object, each with the path of its field.
func (k *Kind) Validate(o store.Object) field.ErrorList { return k.validate(o) }

// ValidateUpdate tells all that is wrong with replacing old by new: what is wrong with new, and fields that must not change.
func (k *Kind) ValidateUpdate(new, old store.Object) field.ErrorList { return k.update(new, old) }

// ValidateStatusUpdate is ValidateUpdate for a write to the status subresource.
func (k *Kind) ValidateStatusUpdate(new, old store.Object) field.ErrorList { return k.status(new, old) }

// ValidateEphemeralUpdate is ValidateUpdate for a write to the ephemeralcontainers subresource of pods.
func (k *Kind) ValidateEphemeralUpdate(new, old store.Object) field.ErrorList {
	return k.ephemeral(new, old)
}

// Warnings are what whoever writes o should know, though it is valid: what of it has no effect here. Of an update only what is
// wished anew is told.
func (k *Kind) Warnings(new, old store.Object) []string {
	if old != nil && part(new, "Spec").IsValid() && !k.changed(new, old) {
		return nil
	}
	return k.warn(new)
}

// Columns are the headings of the kind's table, as kubectl shows it.
func (k *Kind) Columns() []metav1.TableColumnDefinition { return k.header }

// Cells is o's row under Columns.
func (k *Kind) Cells(o store.Object, now time.Time) []any { return k.row(o, now) }

// Fields are the values of o that field selectors ask for.
func (k *Kind) Fields(o store.Object) fields.Set {
	set := fields.Set{"metadata.name": o.GetName()}
	if k.Namespaced {
		set["metadata.namespace"] = o.GetNamespace()
	}
	k.fields(o, set)
	return set
}

// rules are a kind's functions on its Go type. What may be nil says so.
type rules[T store.Object] struct {
	defaults func(T) // nil: none

	generation  bool                  // it counts changes of what is wished
	changed     func(new, old T) bool // nil: the spec differs
	keepsStatus bool                  // whoever creates it brings its status
	create      func(T, time.Time)    // nil: a new object is taken as it is
	change      func(new, old T)      // nil: an update may touch all but the status
	changeState func(new, old T)      // nil: a write of the status changes no more than the generic rule says
	keeps       []string              // metadata that it does not change
	grace       func(T, *int64) int64 // nil: it is deleted at once
	ending      func(T, time.Time)    // what else changes when its deletion is first asked for; nil: nothing
	validate    func(T) field.ErrorList
	update      func(new, old T) field.ErrorList
	status      func(new, old T) field.ErrorList // nil if it has no status
	ephemeral   func(new, old T) field.ErrorList // nil if it has no ephemeral containers

	warn func(T) []string // nil: nobody is warned of anything

	table  columns.Table[T]
	labels []string            // field labels beside metadata.name and metadata.namespace
	fields func(T, fields.Set) // nil: no others
}

// typed is k with the functions of r, which then take any object.
func typed[T store.Object](k Kind, r rules[T]) *Kind {
	t := reflect.TypeFor[T]().Elem()
	k.Singular = strings.ToLower(k.Kind)
	k.New = func() store.Object { return reflect.New(t).Interface().(T) }
	k.defaults = one(r.defaults)
	k.generation, k.keepsStatus, k.keeps = r.generation, r.keepsStatus, r.keeps
	k.changed = changedSpec
	if r.changed != nil {
		k.changed = func(new, old store.Object) bool { return r.changed(new.(T), old.(T)) }
	}
	k.create, k.ending = func(store.Object, time.Time) {}, func(store.Object, time.Time) {}
	if r.create != nil {
		k.create = func(o store.Object, now time.Time) { r.create(o.(T), now) }
	}
	if r.ending != nil {
		k.ending = func(o store.Object, now time.Time) { r.ending(o.(T), now) }
	}
	k.change, k.changeState = two(r.change), two(r.changeState)
	k.grace = func(store.Object, *int64) int64 { return 0 }
	if r.grace != nil {
		k.grace = func(o store.Object, asked *int64) int64 { return r.grace(o.(T), asked) }
	}
	k.validate = func(o store.Object) field.ErrorList { return r.validate(o.(T)) }
	k.update = func(new, old store.Object) field.ErrorList { return r.update(new.(T), old.(T)) }
	k.status = func(new, old store.Object) field.ErrorList { return r.status(new.(T), old.(T)) }
	k.ephemeral = func(new, old store.Object) field.ErrorList { return r.ephemeral(new.(T), old.(T)) }
	k.warn = func(store.Object) []string { return nil }
	if r.warn != nil {
		k.warn = func(o store.Object) []string { return r.warn(o.(T)) }
	}
	k.header = r.table.Header
	k.row = func(o store.Object, now time.Time) []any { return r.table.Row(o.(T), now) }
	k.labels = r.labels
	k.fields = func(o store.Object, set fields.Set) {
		if r.fields != nil {
			r.fields(o.(T), set)
		}
	}
	return &k
}

// always warns of all objects of a kind alike.
func always[T store.Object](text string) func(T) []string {
	return func(T) []string { return []string{text} }
}

func one[T store.Object](f func(T)) func(store.Object) {
	return func(o store.Object) {
		if f != nil {
			f(o.(T))
		}
	}
}

func two[T store.Object](f func(new, old T)) func(new, old store.Object) {
	return func(new, old store.Object) {
		if f != nil {
			f(new.(T), old.(T))
		}
	}
}
