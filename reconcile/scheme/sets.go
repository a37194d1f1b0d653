package scheme

import (
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// setKinds are the sets of pods beside Deployments and ReplicaSets, and what they are made of.
func setKinds(v validate.Rules) []*Kind {
	scale := &Scale{Replicas: "spec.replicas", Status: "status.replicas", Selector: "spec.selector"}
	return []*Kind{
		typed(Kind{GroupVersionKind: core("PodTemplate"), Plural: "podtemplates", Namespaced: true}, rules[*corev1.PodTemplate]{
			defaults: defaults.PodTemplates, generation: true, changed: podTemplateChanged,
			validate: v.PodTemplate, update: v.PodTemplateUpdate, table: columns.PodTemplates(),
		}),
		typed(Kind{GroupVersionKind: core("ReplicationController"), Plural: "replicationcontrollers", Short: list("rc"), Categories: list("all"), Namespaced: true, Status: true, Scale: scale}, rules[*corev1.ReplicationController]{
			defaults: defaults.ReplicationController, generation: true,
			validate: v.ReplicationController, update: v.ReplicationControllerUpdate, status: validate.ReplicationControllerStatusUpdate,
			table: columns.ReplicationControllers(), labels: list("status.replicas"), fields: replicationControllerFields,
		}),
		typed(Kind{GroupVersionKind: apps("ControllerRevision"), Plural: "controllerrevisions", Namespaced: true}, rules[*appsv1.ControllerRevision]{
			validate: validate.ControllerRevision, update: validate.ControllerRevisionUpdate, table: columns.ControllerRevisions(),
		}),
		typed(Kind{GroupVersionKind: apps("DaemonSet"), Plural: "daemonsets", Short: list("ds"), Categories: list("all"), Namespaced: true, Status: true}, rules[*appsv1.DaemonSet]{
			defaults: defaults.DaemonSet, generation: true, create: createDaemonSet, change: changeDaemonSet,
			validate: v.DaemonSet, update: v.DaemonSetUpdate, status: validate.DaemonSetStatusUpdate,
			table: columns.DaemonSets(),
		}),
		typed(Kind{GroupVersionKind: apps("StatefulSet"), Plural: "statefulsets", Short: list("sts"), Categories: list("all"), Namespaced: true, Status: true, Scale: scale}, rules[*appsv1.StatefulSet]{
			defaults: defaults.StatefulSet, generation: true,
			validate: v.StatefulSet, update: v.StatefulSetUpdate, status: validate.StatefulSetStatusUpdate,
			table: columns.StatefulSets(),
		}),
	}
}

func replicationControllerFields(r *corev1.ReplicationController, set fields.Set) {
	set["status.replicas"] = strconv.Itoa(int(r.Status.Replicas))
}

func podTemplateChanged(new, old *corev1.PodTemplate) bool {
	return !equality.Semantic.DeepEqual(new.Template, old.Template)
}

// createDaemonSet counts the versions of its template, in the annotation that Kubernetes still keeps.
func createDaemonSet(d *appsv1.DaemonSet, _ time.Time) {
	if n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64); err != nil || n < 1 {
		countTemplate(d, 1)
	}
}

func changeDaemonSet(new, old *appsv1.DaemonSet) {
	n, _ := strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	next := new.DeepCopy()
	defaults.DaemonSet(next)
	if !equality.Semantic.DeepEqual(next.Spec.Template, old.Spec.Template) {
		n++
	}
	countTemplate(new, n)
}

// typeClaims says of the claim templates of a StatefulSet what they are, which protobuf leaves out.
func typeClaims(o runtime.Object) {
	set, ok := o.(*appsv1.StatefulSet)
	if !ok {
		return
	}
	for i := range set.Spec.VolumeClaimTemplates {
		set.Spec.VolumeClaimTemplates[i].SetGroupVersionKind(core("PersistentVolumeClaim"))
	}
}

func countTemplate(d *appsv1.DaemonSet, n int64) {
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}
