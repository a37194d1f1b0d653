package scheme

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Version is one more version that a kind is served in, beside the one it is stored in: maybe in another group, always by
// the same name. Objects are decided about in the stored version, and converted where they are read and written.
type Version struct {
	schema.GroupVersionKind
	New func() store.Object

	stored, served reflect.Type // structs
	up, down       func(from, to store.Object)
	validate       func(store.Object) field.ErrorList
	update         func(new, old store.Object) field.ErrorList
	labels         map[string]string
}

// conversions are how objects of T, as a version has them, become S, as they are stored, and the other way. They are pure,
// fill in what is empty, copy no metadata, and may let both share what is below the top.
type conversions[S, T store.Object] struct {
	up   func(from T, to S)
	down func(from S, to T)

	// validate is what this version asks of an object, in its stored form, beyond what the kind does. nil: nothing.
	validate func(S) field.ErrorList
	update   func(new, old S) field.ErrorList // nil: nothing

	// labels are what field selectors may name in this version, and what that is called in the stored one, beside the
	// name and the namespace. nil: they are the same.
	labels map[string]string
}

// version is a version for Kind.Versions.
func version[S, T store.Object](gvk schema.GroupVersionKind, c conversions[S, T]) *Version {
	stored, served := reflect.TypeFor[S]().Elem(), reflect.TypeFor[T]().Elem()
	v := &Version{
		GroupVersionKind: gvk, stored: stored, served: served, labels: c.labels,
		New:      func() store.Object { return reflect.New(served).Interface().(T) },
		up:       func(from, to store.Object) { c.up(from.(T), to.(S)) },
		down:     func(from, to store.Object) { c.down(from.(S), to.(T)) },
		validate: func(store.Object) field.ErrorList { return nil },
		update:   func(store.Object, store.Object) field.ErrorList { return nil },
	}
	if c.validate != nil {
		v.validate = func(o store.Object) field.ErrorList { return c.validate(o.(S)) }
	}
	if c.update != nil {
		v.update = func(new, old store.Object) field.ErrorList { return c.update(new.(S), old.(S)) }
	}
	return v
}

// Served are all versions that k is served in, the stored one first.
func (k *Kind) Served() []schema.GroupVersion {
	all := []schema.GroupVersion{k.GroupVersion()}
	for _, v := range k.Versions {
		all = append(all, v.GroupVersion())
	}
	return all
}

// in is the version of k that is not the stored one; nil if there is no such.
func (k *Kind) in(gv schema.GroupVersion) *Version {
	for _, v := range k.Versions {
		if v.GroupVersion() == gv {
			return v
		}
	}
	return nil
}

// ValidateIn is Validate of an object that was written in version gv.
func (k *Kind) ValidateIn(gv schema.GroupVersion, o store.Object) field.ErrorList {
	errs := k.Validate(o)
	if v := k.in(gv); v != nil {
		errs = append(errs, v.validate(o)...)
	}
	return errs
}

// ValidateUpdateIn is ValidateUpdate of an object that was written in version gv.
func (k *Kind) ValidateUpdateIn(gv schema.GroupVersion, new, old store.Object) field.ErrorList {
	errs := k.ValidateUpdate(new, old)
	if v := k.in(gv); v != nil {
		errs = append(errs, v.update(new, old)...)
	}
	return errs
}

// convert fills to from from, metadata included; which way is told by their types.
func (v *Version) convert(from, to store.Object) {
	copyMetadata(from, to)
	if reflect.TypeOf(from).Elem() == v.served {
		v.up(from, to)
	} else {
		v.down(from, to)
	}
}

func copyMetadata(from, to store.Object) {
	*to.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta) = *from.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}

// register has r know k's other versions: how they are made of the stored one and become it, lists too.
func (v *Version) register(r *runtime.Scheme, k *Kind) {
	for _, name := range []string{k.Kind, k.Kind + "List"} {
		stored, err := r.New(k.GroupVersion().WithKind(name))
		must(err)
		served, err := r.New(v.GroupVersion().WithKind(name))
		must(err)
		// k8s.io/apiserver looks for the internal version in the group of the version that is asked for.
		r.AddKnownTypeWithName(schema.GroupVersionKind{Group: v.Group, Version: runtime.APIVersionInternal, Kind: name}, stored)
		convert := v.object
		if name != k.Kind {
			convert = v.list
		}
		must(r.AddConversionFunc(stored, served, convert))
		must(r.AddConversionFunc(served, stored, convert))
	}
	r.AddTypeDefaultingFunc(v.New(), func(o any) {
		full := k.New()
		v.convert(o.(store.Object), full)
		k.Default(full)
		v.convert(full, o.(store.Object))
	})
	must(r.AddFieldLabelConversionFunc(v.GroupVersionKind, func(label, value string) (string, string, error) {
		if v.labels == nil || label == "metadata.name" || label == "metadata.namespace" {
			return k.fieldLabel(label, value)
		}
		if name, ok := v.labels[label]; ok {
			return name, value, nil
		}
		return "", "", fmt.Errorf("field label not supported: %s", label)
	}))
}

func (v *Version) object(from, to any, _ conversion.Scope) error {
	v.convert(from.(store.Object), to.(store.Object))
	return nil
}

func (v *Version) list(from, to any, _ conversion.Scope) error {
	a, b := from.(runtime.Object), to.(runtime.Object)
	if err := copyListMeta(a, b); err != nil {
		return err
	}
	items, err := itemsOf(a)
	if err != nil {
		return err
	}
	into, err := itemsOf(b)
	if err != nil {
		return err
	}
	if items.IsNil() {
		return nil
	}
	into.Set(reflect.MakeSlice(into.Type(), items.Len(), items.Len()))
	for i := range items.Len() {
		v.convert(items.Index(i).Addr().Interface().(store.Object), into.Index(i).Addr().Interface().(store.Object))
	}
	return nil
}

func itemsOf(list runtime.Object) (reflect.Value, error) {
	p, err := meta.GetItemsPtr(list)
	if err != nil {
		return reflect.Value{}, fmt.Errorf("convert a %T: %w", list, err)
	}
	return reflect.ValueOf(p).Elem(), nil
}

func copyListMeta(from, to runtime.Object) error {
	a, err := meta.ListAccessor(from)
	if err != nil {
		return err
	}
	b, err := meta.ListAccessor(to)
	if err != nil {
		return err
	}
	b.SetResourceVersion(a.GetResourceVersion())
	b.SetContinue(a.GetContinue())
	b.SetRemainingItemCount(a.GetRemainingItemCount())
	return nil
}

// groups are the versions of each group, the groups by name, the versions by how much they are preferred.
func groups(kinds []*Kind) [][]schema.GroupVersion {
	byName := map[string][]schema.GroupVersion{}
	for _, k := range kinds {
		for _, gv := range k.Served() {
			if !slices.Contains(byName[gv.Group], gv) {
				byName[gv.Group] = append(byName[gv.Group], gv)
			}
		}
	}
	var all [][]schema.GroupVersion
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		slices.SortFunc(byName[name], func(a, b schema.GroupVersion) int {
			return -apiversion.CompareKubeAwareVersionStrings(a.Version, b.Version)
		})
		all = append(all, byName[name])
	}
	return all
}

// served makes empty objects of a kind in any version that it is served in.
func (s *Scheme) served(gvk schema.GroupVersionKind) (func() store.Object, error) {
	for _, k := range s.kinds {
		if k.Kind != gvk.Kind {
			continue
		}
		if v := k.in(gvk.GroupVersion()); v != nil {
			return v.New, nil
		}
	}
	k, err := s.Lookup(gvk)
	if err != nil {
		return nil, err
	}
	return k.New, nil
}
