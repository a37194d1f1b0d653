// Package admit is the admission chain: what the state of the cluster has to say to a write, beyond what the object itself
// allows. It is one list of rules in the order in which Kubernetes has its plug-ins. Each is a pure function of a snapshot and
// a request: those who write from Git ask them on the state that their commit would make, the API asks them before it
// writes, and the writers inside do so within their transaction. What must hold at the very moment of the write, that the
// namespace is open and the quota has room, is asked for again there: see Commit.
package admit

import (
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Operation is what a request does.
type Operation string

const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// A Request is one write, or one that is tried.
type Request struct {
	Operation   Operation
	Kind        schema.GroupVersionKind
	Resource    schema.GroupVersionResource
	Subresource string
	Namespace   string         // empty for what is of the cluster
	Name        string         // empty if it is yet to be generated
	Object      runtime.Object // nil for a deletion. Only those rules write to it that may change it
	Old         runtime.Object // nil for a creation
	Options     runtime.Object // of the request; may be nil
	User        user.Info      // nil: Mainstay itself
	DryRun      bool

	// Warn takes what the user should know although the write is admitted; Note what the audit log should. Nil: nobody
	// listens.
	Warn func(text string)
	Note func(key, value string)
}

// For is the request to do op to an object of kind k. old and new are as Request has them.
func For(k *scheme.Kind, op Operation, old, new store.Object) *Request {
	r := &Request{Operation: op, Kind: k.GroupVersionKind, Resource: k.GroupVersion().WithResource(k.Plural)}
	for _, o := range []store.Object{old, new} {
		if o != nil {
			r.Namespace, r.Name = o.GetNamespace(), o.GetName()
		}
	}
	if old != nil {
		r.Old = old
	}
	if new != nil {
		r.Object = new
	}
	return r
}

// By says who asks.
func (r *Request) By(name string) *Request {
	r.User = &user.DefaultInfo{Name: name}
	return r
}

// is tells whether r is about that resource itself, none of its subresources.
func (r *Request) is(group, resource string) bool {
	return r.Resource.Resource == resource && r.Resource.Group == group && r.Subresource == ""
}

// pod is the pod of r: nil if it is about something else, or a part of one.
func (r *Request) pod() *corev1.Pod {
	if p, ok := r.Object.(*corev1.Pod); ok && r.is("", "pods") {
		return p
	}
	return nil
}

// forbid is a refusal, an API status in the words of Kubernetes.
func (r *Request) forbid(why error) *apierrors.StatusError {
	name := r.Name
	if o, err := meta.Accessor(r.Object); name == "" && err == nil {
		if name = o.GetName(); name == "" {
			name = o.GetGenerateName()
		}
	}
	return apierrors.NewForbidden(r.Resource.GroupResource(), name, why)
}

func (r *Request) forbidf(format string, args ...any) error {
	return r.forbid(fmt.Errorf(format, args...))
}

// A rule is one plug-in of the chain. Its errors are API statuses.
type rule struct {
	name     string // Kubernetes' own
	field    string // of a manifest, about which it has something to say
	mutate   func(s *store.Snapshot, r *Request) error
	validate func(s *store.Snapshot, r *Request) error
}

// A Refusal is what a rule says against a request.
type Refusal struct {
	Rule  string
	Field string // of the object, where a user would look first; empty: the whole
	Err   error  // an API status
}

// Refusals are all that rules say against a request.
type Refusals []Refusal

// Err is the first refusal: nil if there is none.
func (rs Refusals) Err() error {
	if len(rs) == 0 {
		return nil
	}
	return rs[0].Err
}

// A Chain is the list of rules. It may be used from any number of goroutines. A nil one admits all.
type Chain struct {
	scheme   *scheme.Scheme
	rules    []rule
	security security
	programs programs // of policies
}

const lifecycle = "NamespaceLifecycle"

// New makes the Chain.
func New(s *scheme.Scheme) *Chain {
	c := &Chain{scheme: s}
	c.rules = []rule{
		{lifecycle, "metadata.namespace", namespaceLifecycle, nil},
		{"LimitRanger", "spec.containers", limitDefaults, withinLimits},
		{"ServiceAccount", "spec.serviceAccountName", serviceAccount, nil},
		{"TaintNodesByCondition", "", taintNode, nil},
		{"PodSecurity", "spec", nil, c.security.validate},
		{"Priority", "spec.priorityClassName", priority, priorityClass},
		{"DefaultStorageClass", "", defaultStorageClass, nil},
		{"RuntimeClass", "spec.runtimeClassName", runtimeClass, nil},
		{"DefaultIngressClass", "", defaultIngressClass, nil},
		{"Expressions", "", nil, expressions},
	}
	return c
}

// Ground tells whether other objects are admitted by those of that kind: what a commit brings of them counts for the rest of it.
func Ground(kind schema.GroupKind) bool {
	switch kind.String() {
	case "Namespace", "ServiceAccount", "LimitRange", "ResourceQuota", "RuntimeClass.node.k8s.io", "PriorityClass.scheduling.k8s.io",
		"StorageClass.storage.k8s.io", "IngressClass.networking.k8s.io", "CustomResourceDefinition.apiextensions.k8s.io":
		return true
	}
	return kind.Group == "admissionregistration.k8s.io"
}

// Mutate changes the object of r, which is defaulted, as the rules have it. It is idempotent.
func (c *Chain) Mutate(s *store.Snapshot, r *Request) Refusals {
	return c.ask(s, r, func(rule rule) func(*store.Snapshot, *Request) error { return rule.mutate })
}

// Validate tells why r, which is as it would be written, is refused. Quotas are asked in a dry run only: see Commit.
func (c *Chain) Validate(s *store.Snapshot, r *Request) Refusals {
	refused := c.ask(s, r, func(rule rule) func(*store.Snapshot, *Request) error { return rule.validate })
	if c != nil && r.DryRun {
		if _, err := c.charge(s, r); err != nil {
			refused = append(refused, Refusal{"ResourceQuota", "spec", err})
		}
	}
	return refused
}

func (c *Chain) ask(s *store.Snapshot, r *Request, phase func(rule) func(*store.Snapshot, *Request) error) (refused Refusals) {
	if c == nil {
		return nil
	}
	for _, rule := range c.rules {
		if f := phase(rule); f != nil {
			if err := f(s, r); err != nil {
				refused = append(refused, Refusal{rule.name, rule.field, err})
			}
		}
	}
	return refused
}

// Commit is asked in the transaction that writes the object of r, before it does: the namespace must be open, and the quotas
// have room, which is taken. The error is an API status.
func (c *Chain) Commit(tx *store.Tx, r *Request) error {
	if c == nil {
		return nil
	}
	if err := namespaceOpen(tx.Snapshot, r); err != nil {
		return err
	}
	quotas, err := c.charge(tx.Snapshot, r)
	if err != nil {
		return err
	}
	for _, q := range quotas {
		if err := tx.Update(q); err != nil {
			return fmt.Errorf("charge quota %s: %w", q.Name, err)
		}
	}
	return nil
}

// Charge is the state in which what r takes of the quotas of s is taken.
func (c *Chain) Charge(s *store.Snapshot, r *Request) (*store.Snapshot, Refusals) {
	if c == nil {
		return s, nil
	}
	quotas, err := c.charge(s, r)
	if err != nil {
		return s, Refusals{{"ResourceQuota", "spec", err}}
	}
	for _, q := range quotas {
		s = s.With(q)
	}
	return s, nil
}

// Try tells whether o, which is not written to, would be created in state s, if its namespace is open. It returns the state in
// which what o takes of the quotas is taken. It is for controllers, which have to say what becomes of a plan.
func (c *Chain) Try(s *store.Snapshot, o store.Object) (*store.Snapshot, error) {
	if c == nil {
		return s, nil
	}
	o = o.DeepCopyObject().(store.Object)
	k := c.scheme.Of(o)
	if k == nil {
		return s, fmt.Errorf("try to create a %T: no such kind", o)
	}
	r := For(k, Create, nil, o)
	k.Default(o)
	for _, refused := range append(c.Mutate(s, r), c.Validate(s, r)...) {
		if refused.Rule != lifecycle {
			return s, refused.Err
		}
	}
	over, refused := c.Charge(s, r)
	return over, refused.Err()
}

// has tells whether the store knows objects of type T: that of a test may know less.
func has[T store.Object](s *store.Snapshot) bool {
	_, ok := s.Kinds()[reflect.TypeFor[T]()]
	return ok
}
