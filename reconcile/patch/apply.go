package patch

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Conflicts are fields that an apply wants to have otherwise, and that others own.
type Conflicts []Conflict

// A Conflict is one such field.
type Conflict struct{ Field, Manager string }

func (c Conflicts) Error() string {
	lines := make([]string, len(c))
	for i, x := range c {
		lines[i] = fmt.Sprintf("%s is owned by %q", x.Field, x.Manager)
	}
	return strings.Join(lines, "; ")
}

// Apply is server-side apply of doc by manager: its fields become as doc has them, those that manager applied before and
// doc no longer has are removed, unless others own them too, and the rest stays as it is. Fields that only the system
// writes, the status among them, are passed over.
//
// The result is defaulted, and has its owners in managedFields; it is live itself if nothing changes. If live is nil it is a
// new object, for Kind.PrepareCreate; otherwise one for Kind.PrepareUpdate. The error is Conflicts if others own what doc
// would change, unless force takes it from them.
func (p *Patcher) Apply(live store.Object, doc *unstructured.Unstructured, manager string, force bool, now time.Time) (store.Object, error) {
	k, err := p.kind(doc.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	doc = k.wish(doc)
	owned, err := k.owned(doc, manager)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.Kind.Kind, doc.GetName(), err)
	}
	if live == nil {
		return p.create(k, doc, owned, now)
	}
	if p.holds(k, live, doc, owned) {
		return live, nil
	}
	next, err := k.merge(live, doc, manager, force)
	if err == nil && !p.holds(k, next, doc, owned) {
		// An object whose last field was removed is removed itself, even if doc still has it, empty. The second time it
		// stays, so that a third changes nothing.
		next, err = k.merge(next, doc, manager, force)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %s %s: %w", k.Kind.Kind, doc.GetName(), conflicts(err))
	}
	settle(next, live, owned, now)
	if equality.Semantic.DeepEqual(next, live) {
		return live, nil
	}
	return next, nil
}

// merge is apimachinery's apply.
func (k *kind) merge(live store.Object, doc *unstructured.Unstructured, manager string, force bool) (store.Object, error) {
	o, err := k.manager.Apply(live, doc, manager, force)
	if err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	return o.(store.Object), nil
}

// create is what merging doc with nothing yields, without merging.
func (p *Patcher) create(k *kind, doc *unstructured.Unstructured, owned metav1.ManagedFieldsEntry, now time.Time) (store.Object, error) {
	o, err := p.typed(k, doc)
	if err != nil {
		return nil, err
	}
	k.Default(o)
	o.SetManagedFields(nil)
	if !nothing(owned) {
		owned.Time = stamp(now)
		o.SetManagedFields([]metav1.ManagedFieldsEntry{owned})
	}
	return o, nil
}

// nothing tells whether an entry owns no field. Such entries are not kept. A document that is nothing but a name, as many
// namespaces are, has one.
func nothing(e metav1.ManagedFieldsEntry) bool { return e.FieldsV1.GetRawString() == "{}" }

// owned is the entry of whoever applies doc, without a time.
func (k *kind) owned(doc *unstructured.Unstructured, manager string) (metav1.ManagedFieldsEntry, error) {
	value, err := k.read(doc)
	if err != nil {
		return metav1.ManagedFieldsEntry{}, err
	}
	set, err := value.ToFieldSet()
	if err != nil {
		return metav1.ManagedFieldsEntry{}, err
	}
	return entry(manager, metav1.ManagedFieldsOperationApply, k.GroupVersion(), "", set.Difference(k.ignored))
}

// read checks doc against the merge schema: so an item that is twice in a list of named items is refused.
func (k *kind) read(doc *unstructured.Unstructured) (*typed.TypedValue, error) {
	t, err := k.typeOf()
	if err != nil {
		return nil, err
	}
	return t.FromUnstructured(doc.Object)
}

// conflicts makes Conflicts of the API's form of them.
func conflicts(err error) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || status.ErrStatus.Details == nil {
		return err
	}
	var all Conflicts
	for _, c := range status.ErrStatus.Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		manager := strings.TrimPrefix(c.Message, "conflict with ")
		if quoted, err := strconv.QuotedPrefix(manager); err == nil {
			manager, _ = strconv.Unquote(quoted)
		}
		all = append(all, Conflict{Field: strings.TrimPrefix(c.Field, "."), Manager: manager})
	}
	if len(all) == 0 {
		return err
	}
	return all
}

// systemOwned are the fields of the metadata that a wish cannot be about. Manifests that were read from a cluster have
// them.
func systemOwned() []string {
	return []string{"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
}

// wish is doc without what only the system writes. The text in a Secret's stringData becomes data, so that its keys are
// owned as what they are kept as. doc itself is not changed, and returned if it needs no change.
func (k *kind) wish(doc *unstructured.Unstructured) *unstructured.Unstructured {
	m, _ := doc.Object["metadata"].(map[string]any)
	_, hasStatus := doc.Object["status"]
	_, hasText := doc.Object["stringData"]
	hasStatus = hasStatus && k.Status
	hasText = hasText && isSecret(k.GroupVersionKind.GroupKind())
	has := func(name string) bool { _, ok := m[name]; return ok }
	hasSystem := slices.ContainsFunc(systemOwned(), has)
	if !hasStatus && !hasText && !hasSystem {
		return doc
	}
	c := &unstructured.Unstructured{Object: clone(doc.Object)}
	if hasStatus {
		delete(c.Object, "status")
	}
	if hasSystem {
		m = clone(m)
		for _, name := range systemOwned() {
			delete(m, name)
		}
		c.Object["metadata"] = m
	}
	if hasText {
		textToData(c.Object)
	}
	return c
}

// entry is a manager's entry for the fields of set, without a time.
func entry(manager string, op metav1.ManagedFieldsOperationType, gv interface{ String() string }, subresource string, set *fieldpath.Set) (metav1.ManagedFieldsEntry, error) {
	raw, err := set.ToJSON()
	if err != nil {
		return metav1.ManagedFieldsEntry{}, err
	}
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: op, APIVersion: gv.String(), Subresource: subresource,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(raw)),
	}, nil
}

// shallow is a copy of o that shares all that o points to.
func shallow(o store.Object) store.Object {
	v := reflect.New(reflect.TypeOf(o).Elem())
	v.Elem().Set(reflect.ValueOf(o).Elem())
	return v.Interface().(store.Object)
}
