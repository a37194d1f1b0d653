package patch

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// In is p for the kinds that users have defined, too. Objects of these are in the version of the document that is applied.
func (p *Patcher) In(kinds scheme.Kinds) *Patcher {
	c := *p
	c.at = &kinds
	return &c
}

// definedKinds remembers what patching needs of the kinds that users define.
type definedKinds struct {
	mu   sync.Mutex
	made map[schema.GroupVersionKind]*kind
}

func (d *definedKinds) get(k *scheme.Kind) (*kind, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if is, ok := d.made[k.GroupVersionKind]; ok && is.Kind == k {
		return is, nil
	}
	is, err := definedKind(k)
	if err != nil {
		return nil, fmt.Errorf("make the field manager of %s: %w", k.Kind, err)
	}
	if d.made == nil {
		d.made = map[schema.GroupVersionKind]*kind{}
	}
	d.made[k.GroupVersionKind] = is
	return is, nil
}

func definedKind(k *scheme.Kind) (*kind, error) {
	types, err := k.Defined.Types()
	if err != nil {
		return nil, err
	}
	reset := k.ResetFields("")
	o := custom{k}
	manager, err := managedfields.NewDefaultCRDFieldManager(types, o, o, o, k.GroupVersionKind, k.GroupVersion(), "",
		map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(k.GroupVersion().String()): fieldpath.NewExcludeSetFilter(reset)})
	if err != nil {
		return nil, err
	}
	empty, err := types.ObjectToTyped(k.New())
	if err != nil {
		return nil, err
	}
	parsed := typed.ParseableType{TypeRef: empty.TypeRef(), Schema: empty.Schema()}
	return &kind{Kind: k, manager: manager, ignored: unowned().Union(reset), typeOf: func() (typed.ParseableType, error) { return parsed, nil }}, nil
}

// custom is what apimachinery wants to know of a kind without a Go type. Its versions differ only by their name.
type custom struct{ *scheme.Kind }

var (
	_ runtime.ObjectConvertor = custom{}
	_ runtime.ObjectDefaulter = custom{}
	_ runtime.ObjectCreater   = custom{}
)

// Default implements runtime.ObjectDefaulter.
func (c custom) Default(o runtime.Object) { c.Kind.Default(o.(store.Object)) }

// New implements runtime.ObjectCreater.
func (c custom) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// Convert implements runtime.ObjectConvertor.
func (c custom) Convert(in, out, _ any) error {
	out.(*unstructured.Unstructured).Object = in.(*unstructured.Unstructured).DeepCopy().Object
	return nil
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c custom) ConvertToVersion(o runtime.Object, v runtime.GroupVersioner) (runtime.Object, error) {
	u := o.(*unstructured.Unstructured)
	gvk, ok := v.KindForGroupVersionKinds([]schema.GroupVersionKind{u.GroupVersionKind()})
	if !ok {
		return nil, fmt.Errorf("convert %s to %v: it is of another group", u.GroupVersionKind(), v)
	}
	next := u.DeepCopy()
	next.SetGroupVersionKind(gvk)
	return next, nil
}

// ConvertFieldLabel implements runtime.ObjectConvertor.
func (c custom) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// typed is doc as an object of kind k, without defaults.
func (p *Patcher) typed(k *kind, doc *unstructured.Unstructured) (store.Object, error) {
	if k.Defined != nil {
		return doc.DeepCopy(), nil
	}
	return p.scheme.Typed(doc)
}
