package workload

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var podVersion = corev1.SchemeGroupVersion.WithKind("Pod")

// partition is the lowest ordinal that gets the new template.
func (r *series) partition() int {
	if u := r.set.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		return int(*u.Partition)
	}
	return 0
}

// podFor is the pod with an ordinal: of the new template, or below the partition of the current one.
func (r *series) podFor(n int) (*corev1.Pod, error) {
	template, revision := &r.set.Spec.Template, r.update
	if n-r.start() < r.partition() && r.current != r.update {
		t, err := templateIn(r.current)
		if err != nil {
			return nil, err
		}
		template, revision = t, r.current
	}
	p := podOf(template, r.set, statefulSetVersion)
	p.Name = r.set.Name + "-" + strconv.Itoa(n)
	p.GenerateName = r.set.Name + "-"
	r.label(p, n)
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = revision.Name
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, r.set.Spec.ServiceName
	for i := range r.set.Spec.VolumeClaimTemplates {
		c := &r.set.Spec.VolumeClaimTemplates[i]
		p.Spec.Volumes = slices.DeleteFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == c.Name })
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: r.claimName(c, n)},
		}})
	}
	return p, nil
}

// label gives p the labels that tell it from its siblings.
func (r *series) label(p *corev1.Pod, n int) {
	p.Labels = maps.Clone(p.Labels)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.StatefulSetPodNameLabel] = p.Name
	p.Labels[appsv1.PodIndexLabel] = strconv.Itoa(n)
}

// identify gives back to a pod the labels that were taken from it.
func (r *series) identify(p *corev1.Pod, i int) {
	next := p.DeepCopy()
	r.label(next, i+r.start())
	if equality.Semantic.DeepEqual(next.Labels, p.Labels) {
		return
	}
	for j := range r.plan.Writes { // it was adopted by this plan
		if w := &r.plan.Writes[j]; w.Object.GetUID() == p.UID {
			r.label(w.Object.(*corev1.Pod), i+r.start())
			return
		}
	}
	r.plan.Update(next, "its labels tell it from its siblings")
}

func (r *series) claimName(t *corev1.PersistentVolumeClaim, n int) string {
	return t.Name + "-" + r.set.Name + "-" + strconv.Itoa(n)
}

// claims are those that the pod with an ordinal needs and that are not there, and the name of one that is being deleted.
func (r *series) claims(p *corev1.Pod, n int) (missing []*corev1.PersistentVolumeClaim, ending string) {
	for i := range r.set.Spec.VolumeClaimTemplates {
		t := &r.set.Spec.VolumeClaimTemplates[i]
		c, ok := store.Get[*corev1.PersistentVolumeClaim](r.Snapshot, r.set.Namespace, r.claimName(t, n))
		switch {
		case ok && c.DeletionTimestamp != nil:
			ending = c.Name
		case !ok:
			c = t.DeepCopy()
			c.Name, c.Namespace = r.claimName(t, n), r.set.Namespace
			c.Labels = maps.Clone(c.Labels)
			if c.Labels == nil {
				c.Labels = map[string]string{}
			}
			maps.Copy(c.Labels, r.set.Spec.Selector.MatchLabels)
			c.OwnerReferences = r.keepers(c.OwnerReferences, p, false)
			missing = append(missing, c)
		}
	}
	return missing, ending
}

// retain brings the owners of claims in line with how long they are to be kept: what is to go with the set is the set's,
// what is to go when there are fewer pods is the pod's that goes.
func (r *series) retain() {
	look := func(p *corev1.Pod, leaves bool) {
		if p == nil {
			return
		}
		n, _ := ordinal(r.set, p)
		for i := range r.set.Spec.VolumeClaimTemplates {
			c, ok := store.Get[*corev1.PersistentVolumeClaim](r.Snapshot, r.set.Namespace, r.claimName(&r.set.Spec.VolumeClaimTemplates[i], n))
			if !ok || c.DeletionTimestamp != nil {
				continue
			}
			if next := r.keepers(c.OwnerReferences, p, leaves); !equality.Semantic.DeepEqual(next, c.OwnerReferences) {
				c = c.DeepCopy()
				c.OwnerReferences = next
				r.plan.Update(c, "how long it is kept")
			}
		}
	}
	for _, p := range r.place {
		look(p, false)
	}
	for _, p := range r.spare {
		look(p, true)
	}
}

// keepers are the owners of a claim of p, besides those that are not ours; leaves: p goes for good.
func (r *series) keepers(others []metav1.OwnerReference, p *corev1.Pod, leaves bool) []metav1.OwnerReference {
	const goes = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	policy := r.set.Spec.PersistentVolumeClaimRetentionPolicy
	if policy == nil {
		policy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	ofPod := policy.WhenScaled == goes && leaves
	ofSet := policy.WhenDeleted == goes && !ofPod
	refs := slices.DeleteFunc(slices.Clone(others), func(o metav1.OwnerReference) bool {
		return o.UID == r.set.UID && !ofSet || o.Kind == "Pod" && o.Name == p.Name && !(ofPod && o.UID == p.UID)
	})
	add := func(want bool, o store.Object, kind schema.GroupVersionKind) {
		if want && !slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool { return r.UID == o.GetUID() }) {
			refs = append(refs, *metav1.NewControllerRef(o, kind))
		}
	}
	add(ofSet, r.set, statefulSetVersion)
	add(ofPod, p, podVersion)
	return refs
}
