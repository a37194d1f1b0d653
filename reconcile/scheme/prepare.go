package scheme

import (
	"reflect"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// PrepareCreate makes a new object of what somebody asked for: with an identity, defaults, and without what only others
// may write, such as its status.
func (k *Kind) PrepareCreate(o store.Object, uid types.UID, now time.Time) {
	o.SetUID(uid)
	o.SetCreationTimestamp(stamp(now))
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetGeneration(0)
	if k.generation {
		o.SetGeneration(1)
	}
	if k.Status && !k.keepsStatus {
		dropPart(o, "Status")
	}
	k.defaults(o)
	k.create(o, now)
}

// PrepareUpdate makes of new, which is to replace old, what may replace it: the status and what the system keeps in the
// metadata stay, and the generation counts.
func (k *Kind) PrepareUpdate(new, old store.Object) {
	keepIdentity(new, old)
	if k.Status {
		copyPart(new, old, "Status")
	}
	k.change(new, old)
	k.defaults(new)
	new.SetGeneration(old.GetGeneration())
	if k.generation && k.changed(new, old) {
		new.SetGeneration(old.GetGeneration() + 1)
	}
}

// PrepareStatusUpdate is PrepareUpdate for a write to the status subresource: of new, little but the status remains.
func (k *Kind) PrepareStatusUpdate(new, old store.Object) {
	keepIdentity(new, old)
	copyPart(new, old, "Spec")
	new.SetGeneration(old.GetGeneration())
	k.changeState(new, old)
	k.defaults(new)
}

// ResetFields are the fields that a write to the subresource, "" for the object itself, does not change whatever it says: so
// that nobody comes to own them by it.
func (k *Kind) ResetFields(subresource string) *fieldpath.Set {
	switch {
	case !k.Status:
		return fieldpath.NewSet()
	case subresource == "status":
		set := fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
		for _, name := range k.keeps {
			set.Insert(fieldpath.MakePathOrDie("metadata", name))
		}
		return set
	}
	return fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
}

// PrepareFinalize is PrepareUpdate for a write to the finalize subresource of namespaces: the status remains, and the
// spec's finalizers may change.
func PrepareFinalize(new, old *corev1.Namespace) {
	keepIdentity(new, old)
	new.Status = old.Status
	new.Generation = old.Generation
}

// PrepareEphemeralUpdate is PrepareUpdate for a write to the ephemeralcontainers subresource of pods: of new, little but these
// remains.
func (k *Kind) PrepareEphemeralUpdate(new, old *corev1.Pod) {
	added, fields, version := new.Spec.EphemeralContainers, new.ManagedFields, new.ResourceVersion
	old.DeepCopyInto(new)
	new.Spec.EphemeralContainers, new.ManagedFields, new.ResourceVersion = added, fields, version
	k.defaults(new)
	if k.changed(new, old) {
		new.Generation++
	}
}

// stamp is now as an object keeps it: to the second.
func stamp(now time.Time) metav1.Time { return metav1.NewTime(now.Truncate(time.Second)) }

// keepIdentity keeps what a writer cannot change by saying otherwise, nor by leaving it out.
func keepIdentity(new, old store.Object) {
	if new.GetUID() == "" {
		new.SetUID(old.GetUID()) // another one is refused by validation
	}
	new.SetCreationTimestamp(old.GetCreationTimestamp())
	if t := old.GetDeletionTimestamp(); t != nil {
		new.SetDeletionTimestamp(t.DeepCopy())
	}
	if g := old.GetDeletionGracePeriodSeconds(); g != nil {
		seconds := *g
		new.SetDeletionGracePeriodSeconds(&seconds)
	}
}

// part is a top field of o, invalid if there is none of that name.
func part(o store.Object, name string) reflect.Value {
	return reflect.ValueOf(o).Elem().FieldByName(name)
}

// dropPart empties a top field.
func dropPart(o store.Object, name string) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		delete(u.Object, strings.ToLower(name))
		return
	}
	part(o, name).SetZero()
}

// copyPart copies a top field. What it points to is shared, since stored objects do not change: so it is copied first.
func copyPart(to, from store.Object, name string) {
	if u, ok := to.(*unstructured.Unstructured); ok {
		name = strings.ToLower(name)
		if v, there := from.(*unstructured.Unstructured).Object[name]; there {
			u.Object[name] = runtime.DeepCopyJSONValue(v)
		} else {
			delete(u.Object, name)
		}
		return
	}
	if f := part(to, name); f.IsValid() {
		f.Set(part(from.DeepCopyObject().(store.Object), name))
	}
}

func changedSpec(new, old store.Object) bool {
	return !equality.Semantic.DeepEqual(part(new, "Spec").Interface(), part(old, "Spec").Interface())
}

// deploymentChanged looks at annotations too: the controller copies them to ReplicaSets.
func deploymentChanged(new, old *appsv1.Deployment) bool {
	return !equality.Semantic.DeepEqual(new.Spec, old.Spec) || !equality.Semantic.DeepEqual(new.Annotations, old.Annotations)
}

// podChanged does not count the binding to a node: a pod that was only scheduled is of its first generation.
func podChanged(new, old *corev1.Pod) bool {
	if new.Spec.NodeName == old.Spec.NodeName {
		return !equality.Semantic.DeepEqual(new.Spec, old.Spec)
	}
	spec := new.Spec
	spec.NodeName = old.Spec.NodeName
	return !equality.Semantic.DeepEqual(spec, old.Spec)
}

func endpointSliceChanged(new, old *discoveryv1.EndpointSlice) bool {
	a, b := *new, *old
	a.TypeMeta, b.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
	a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{}, metav1.ObjectMeta{}
	return !equality.Semantic.DeepEqual(a, b) || !equality.Semantic.DeepEqual(new.Labels, old.Labels)
}

// createNamespace holds a namespace back from deletion until its contents are gone.
func createNamespace(n *corev1.Namespace, _ time.Time) {
	n.Status.Phase = corev1.NamespaceActive
	for _, f := range n.Spec.Finalizers {
		if f == corev1.FinalizerKubernetes {
			return
		}
	}
	n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
}

// changeNamespace: finalizers are changed through their own subresource only.
func changeNamespace(new, old *corev1.Namespace) {
	new.Spec.Finalizers = old.DeepCopy().Spec.Finalizers
}

func keepDeploymentLabels(new, old *appsv1.Deployment) { new.Labels = old.DeepCopy().Labels }

func keepSourceLabels(new, old *v1alpha1.GitSource) { new.Labels = old.DeepCopy().Labels }
