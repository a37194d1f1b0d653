// Package scheme knows the kinds: how they are named, read and written, what Kubernetes fills in, what it refuses, how
// they are deleted, and what kubectl shows of them. The API, apply and the controllers' engine all ask it, so that one
// rule is written once. It is pure: time and UIDs are arguments.
package scheme

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Options of a Scheme.
type Options struct {
	// Unsupported tells what the nodes cannot do yet of a pod, with paths that begin inside the spec
	// ("containers[0].lifecycle"). Such pods, and templates of them, are refused. Nil: they can do all.
	Unsupported func(*corev1.PodSpec) field.ErrorList
	// UnsupportedService is the same for services.
	UnsupportedService func(*corev1.ServiceSpec) field.ErrorList
}

// A Scheme is the kinds that are served, but for those that users define: see In. It does not change after New, and may be
// used from any number of goroutines.
type Scheme struct {
	Runtime    *runtime.Scheme         // every served kind in its version and, the same Go type, in the internal one
	Codecs     serializer.CodecFactory // what the API reads and writes
	Parameters runtime.ParameterCodec
	Stored     store.Kinds
	OpenAPI    *openapi.Documents

	kinds  []*Kind
	byType map[reflect.Type]*Kind
	byKind map[schema.GroupKind]*Kind

	defined *memory
}

// New makes the Scheme. It costs a third of a millisecond, and a program needs one.
func New(opts Options) *Scheme {
	s := &Scheme{
		Stored: store.Kinds{},
		kinds:  table(opts),
		byType: map[reflect.Type]*Kind{},
		byKind: map[schema.GroupKind]*Kind{}, defined: &memory{},
	}
	for _, k := range s.kinds {
		o := k.New()
		s.byType[reflect.TypeOf(o)] = k
		s.byKind[k.GroupVersionKind.GroupKind()] = k
		s.Stored.Add(k.GroupVersionKind, o)
	}
	s.Runtime = newRuntime(s.kinds)
	s.OpenAPI = openapi.New()
	s.Codecs = serializer.NewCodecFactory(s.Runtime,
		serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	s.Parameters = runtime.NewParameterCodec(s.Runtime)
	return s
}

// Groups are the versions of each group that are served, the groups by name, the versions by how much they are preferred.
func (s *Scheme) Groups() [][]schema.GroupVersion { return groups(s.kinds) }

// All are the kinds, by group and then as the API lists them. The slice is the caller's.
func (s *Scheme) All() []*Kind { return slices.Clone(s.kinds) }

// Of is the kind of an object, nil if it is not served. Of one without a Go type it knows no more than what all of them
// have in common: what its definition says, In tells.
func (s *Scheme) Of(o runtime.Object) *Kind {
	if u, ok := o.(*unstructured.Unstructured); ok {
		return undefined(u.GroupVersionKind())
	}
	return s.byType[reflect.TypeOf(o)]
}

// Kind is the kind of that name, nil if it is not served.
func (s *Scheme) Kind(gk schema.GroupKind) *Kind { return s.byKind[gk] }

// Lookup is the kind of that name and version. The error is for users: it tells a kind that Kubernetes has from a
// mistyped one, and from one that is in another version.
func (s *Scheme) Lookup(gvk schema.GroupVersionKind) (*Kind, error) {
	if k := s.byKind[gvk.GroupKind()]; k != nil && k.Version == gvk.Version {
		return k, nil
	}
	return nil, s.unknown(gvk)
}

// Default fills in a typed object of a served kind. Others are left as they are.
func (s *Scheme) Default(o store.Object) {
	if k := s.Of(o); k != nil {
		k.Default(o)
	}
}

// Typed is doc as an object of its kind's Go type, without defaults. It is not strict: see Check.
func (s *Scheme) Typed(doc *unstructured.Unstructured) (store.Object, error) {
	k, err := s.Lookup(doc.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	o := k.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(doc.Object, o); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.Kind, doc.GetName(), err)
	}
	o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return o, nil
}

// byPriority orders kinds as discovery lists them: the core group first, then by group, each in the order of the table.
func byPriority(a, b *Kind) int { return cmp.Compare(a.Group, b.Group) }
