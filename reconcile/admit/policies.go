package admit

import (
	"context"
	"reflect"
	"slices"
	"sync"

	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Policies are what users add to the chain: policies written in CEL, and webhooks. They are k8s.io/apiserver's own, fed from
// a state of the store rather than by informers, so that what a commit brings counts for the rest of it, and nothing runs
// while there are none. They may take their time: they are never asked in a transaction.
type Policies struct {
	chain *Chain
	state func() *store.Snapshot
	pure  bool // no webhooks
	// Authorizer answers what expressions ask about who may do what; nil: nobody may do anything.
	Authorizer authorizer.UnconditionalAuthorizer

	mu       sync.Mutex
	mutate   webhooks[*registration.MutatingWebhookConfiguration]
	validate webhooks[*registration.ValidatingWebhookConfiguration]
}

// Policies are those of the states that state returns: the newest each time.
func (c *Chain) Policies(state func() *store.Snapshot) *Policies {
	return &Policies{chain: c, state: state}
}

// Pure are the policies of s without webhooks: they are quick and do no I/O, so that they can be asked in a transaction.
func (c *Chain) Pure(s *store.Snapshot) *Policies {
	if c == nil {
		return nil
	}
	return &Policies{chain: c, state: func() *store.Snapshot { return s }, pure: true}
}

// exempt tells whether policies are not asked about r: they themselves, and questions about who may do what.
func exempt(a admission.Attributes) bool {
	switch a.GetResource().Group {
	case registration.GroupName, "authentication.k8s.io", "authorization.k8s.io":
		return true
	}
	return false
}

// Mutate has policies and webhooks change the object of a. The error is an API status.
func (p *Policies) Mutate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p == nil || exempt(a) {
		return nil
	}
	o = alike{o}
	s := p.state()
	if hooks := p.mutatingHooks(s); len(hooks) > 0 && a.GetOperation() != admission.Delete {
		d := mutating.NewDispatcher(p.authorizer(), matching.NewMatcher(namespaces{s}, nil), converters{p.chain})
		if err := d.Dispatch(ctx, a, o, hooks); err != nil {
			return err
		}
	}
	if p.pure {
		return nil
	}
	hook, err := p.mutatingWebhooks(s)
	if hook == nil || err != nil {
		return err
	}
	return hook.Admit(ctx, a, o)
}

// Validate asks policies and webhooks about a. The error is an API status.
func (p *Policies) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p == nil || exempt(a) {
		return nil
	}
	o = alike{o}
	s := p.state()
	if hooks := p.validatingHooks(s); len(hooks) > 0 {
		d := validating.NewDispatcher(p.authorizer(), generic.NewPolicyMatcher(matching.NewMatcher(namespaces{s}, nil)))
		if err := d.Dispatch(ctx, a, o, hooks); err != nil {
			return err
		}
	}
	if p.pure {
		return nil
	}
	hook, err := p.validatingWebhooks(s)
	if hook == nil || err != nil {
		return err
	}
	return hook.Validate(ctx, a, o)
}

// ask has f look at r as it would look at what came by HTTP.
func (p *Policies) ask(ctx context.Context, r *Request, f func(context.Context, admission.Attributes, admission.ObjectInterfaces) error) error {
	if p == nil {
		return nil
	}
	if r.Warn != nil {
		ctx = warning.WithWarningRecorder(ctx, listener(r.Warn))
	}
	if r.User == nil {
		r.By(inside)
	}
	a := admission.NewAttributesRecord(r.Object, r.Old, r.Kind, r.Namespace, r.Name, r.Resource, r.Subresource, admission.Operation(r.Operation), r.Options, r.DryRun, r.User)
	o := admission.NewObjectInterfacesFromScheme(p.chain.scheme.Runtime)
	return f(ctx, a, o)
}

// inside is who asks when Mainstay itself does.
const inside = "system:mainstay"

// listener takes warnings.
type listener func(string)

func (l listener) AddWarning(_, text string) { l(text) }

// MutateRequest is Mutate for those who do not come by HTTP.
func (p *Policies) MutateRequest(ctx context.Context, r *Request) error {
	return p.ask(ctx, r, p.Mutate)
}

// ValidateRequest is Validate for those who do not come by HTTP.
func (p *Policies) ValidateRequest(ctx context.Context, r *Request) error {
	return p.ask(ctx, r, p.Validate)
}

func (p *Policies) authorizer() authorizer.UnconditionalAuthorizer {
	if p.Authorizer == nil {
		return nobody{}
	}
	return p.Authorizer
}

type nobody struct{}

func (nobody) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "", nil
}

// all are the objects of type T in s; nil if there are none.
func all[T store.Object](s *store.Snapshot) []T {
	if !has[T](s) {
		return nil
	}
	return slices.Collect(store.List[T](s))
}

// namespaces is a lister of those of a snapshot.
type namespaces struct{ s *store.Snapshot }

var _ corelisters.NamespaceLister = namespaces{}

func (n namespaces) Get(name string) (*corev1.Namespace, error) {
	if ns, ok := store.Get[*corev1.Namespace](n.s, "", name); ok {
		return ns, nil
	}
	// Not "not found", which would have a client asked.
	return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, name, errNoNamespace)
}

func (n namespaces) List(selector labels.Selector) ([]*corev1.Namespace, error) {
	return slices.Collect(store.List[*corev1.Namespace](n.s, store.Labelled(selector))), nil
}

const errNoNamespace = text("it is not there")

type text string

func (t text) Error() string { return string(t) }

// alike are object interfaces that also convert to the same type: the kinds have one Go type for all their versions.
type alike struct{ admission.ObjectInterfaces }

func (a alike) GetObjectConvertor() runtime.ObjectConvertor {
	return sameType{a.ObjectInterfaces.GetObjectConvertor()}
}

type sameType struct{ runtime.ObjectConvertor }

func (c sameType) Convert(in, out, context any) error {
	if reflect.TypeOf(in) != reflect.TypeOf(out) {
		return c.ObjectConvertor.Convert(in, out, context)
	}
	if o, ok := in.(runtime.Object); ok {
		in = o.DeepCopyObject()
	}
	reflect.ValueOf(out).Elem().Set(reflect.ValueOf(in).Elem())
	return nil
}
