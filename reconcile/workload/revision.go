package workload

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Annotations that kubectl rollout and its kin read.
const (
	revisionAnnotation        = "deployment.kubernetes.io/revision"
	revisionHistoryAnnotation = "deployment.kubernetes.io/revision-history"
	desiredAnnotation         = "deployment.kubernetes.io/desired-replicas"
	maximumAnnotation         = "deployment.kubernetes.io/max-replicas"
)

// notInherited are the annotations of a Deployment that its ReplicaSets do not get.
var notInherited = []string{
	corev1.LastAppliedConfigAnnotation, revisionAnnotation, revisionHistoryAnnotation,
	desiredAnnotation, maximumAnnotation, appsv1.DeprecatedRollbackTo,
}

func revisionOf(o metav1.Object) int64 {
	n, _ := strconv.ParseInt(o.GetAnnotations()[revisionAnnotation], 10, 64)
	return n
}

// sameTemplate compares templates but for the label that tells ReplicaSets apart.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// templateHash tells templates apart; collisions changes it when two happen to be equal.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	b, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("encode a pod template: %v", err)) // it came out of a decoder
	}
	h.Write(b)
	if collisions != nil {
		fmt.Fprint(h, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// ensureNewest creates the ReplicaSet of the wanted template, with no replicas yet, if there is none.
func (r *rollout) ensureNewest() {
	if r.newest != nil {
		return
	}
	t := r.d.Spec.Template.DeepCopy()
	hash := templateHash(t, r.d.Status.CollisionCount)
	name := r.d.Name + "-" + hash
	if _, taken := store.Get[*appsv1.ReplicaSet](r.Snapshot, r.d.Namespace, name); taken {
		n := int32(1)
		if c := r.d.Status.CollisionCount; c != nil {
			n = *c + 1
		}
		r.next.Status.CollisionCount = &n
		hash = templateHash(t, &n)
		name = r.d.Name + "-" + hash
	}
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	t.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	selector := r.d.Spec.Selector.DeepCopy()
	if selector.MatchLabels == nil {
		selector.MatchLabels = map[string]string{}
	}
	selector.MatchLabels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	var none int32
	r.newest = &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name:            name,
			Namespace:       r.d.Namespace,
			Labels:          maps.Clone(t.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &none, MinReadySeconds: r.d.Spec.MinReadySeconds, Selector: selector, Template: *t},
	}
	r.annotate(r.newest)
	r.plan.Create(r.newest, "the template is new")
	r.progress("NewReplicaSetCreated", fmt.Sprintf("Created new replica set %q", name))
}

// annotate gives rs what it inherits from the Deployment, the sizes that proportional scaling reads, and, if it is the
// newest, its revision, which the Deployment gets too.
func (r *rollout) annotate(rs *appsv1.ReplicaSet) {
	a := maps.Clone(rs.Annotations)
	if a == nil {
		a = map[string]string{}
	}
	newest := r.newest != nil && rs.Name == r.newest.Name
	if newest {
		for k, v := range r.d.Annotations {
			if !slices.Contains(notInherited, k) {
				a[k] = v
			}
		}
		r.number(rs, a)
		rs.Spec.MinReadySeconds = r.d.Spec.MinReadySeconds
	}
	if replicas(rs.Spec.Replicas) > 0 || newest {
		want := replicas(r.d.Spec.Replicas)
		a[desiredAnnotation] = strconv.Itoa(int(want))
		a[maximumAnnotation] = strconv.Itoa(int(want + r.maxSurge()))
	}
	rs.Annotations = a
}

// number makes rs the highest revision.
func (r *rollout) number(rs *appsv1.ReplicaSet, a map[string]string) {
	highest := int64(0)
	for _, o := range r.old {
		highest = max(highest, revisionOf(o))
	}
	revision := revisionOf(rs)
	if revision <= highest {
		if revision > 0 {
			a[revisionHistoryAnnotation] = strings.TrimPrefix(a[revisionHistoryAnnotation]+","+strconv.FormatInt(revision, 10), ",")
		}
		revision = highest + 1
	}
	a[revisionAnnotation] = strconv.FormatInt(revision, 10)
	if r.next.Annotations[revisionAnnotation] != a[revisionAnnotation] {
		r.next.Annotations = maps.Clone(r.next.Annotations)
		if r.next.Annotations == nil {
			r.next.Annotations = map[string]string{}
		}
		r.next.Annotations[revisionAnnotation] = a[revisionAnnotation]
	}
}

// forget deletes the oldest of the ReplicaSets that are kept only for a return to them.
func (r *rollout) forget() {
	if r.d.Spec.RevisionHistoryLimit == nil {
		return
	}
	idle := slices.DeleteFunc(slices.Clone(r.old), func(rs *appsv1.ReplicaSet) bool {
		return r.sizeOf(rs) != 0 || rs.Status.Replicas != 0 || rs.Generation > rs.Status.ObservedGeneration
	})
	slices.SortStableFunc(idle, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	for _, rs := range idle[:max(len(idle)-int(*r.d.Spec.RevisionHistoryLimit), 0)] {
		r.plan.Delete(rs, "older than the revision history limit")
		r.old = slices.DeleteFunc(r.old, func(o *appsv1.ReplicaSet) bool { return o == rs })
	}
}
