package workload

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// fence is how many more pods than nodes a rolling update may make, and how many nodes may be without an available pod:
// one of the two is none.
func (r *daemons) fence() (surge, unavailable int) {
	u := r.d.Spec.UpdateStrategy.RollingUpdate
	if r.d.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || u == nil {
		return 0, 0
	}
	resolve := func(v *intstr.IntOrString) int {
		if v == nil {
			return 0
		}
		n, _ := intstr.GetScaledValueFromIntOrPercent(v, r.wanted(), true)
		return n
	}
	surge, unavailable = resolve(u.MaxSurge), resolve(u.MaxUnavailable)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func (r *daemons) wanted() int {
	n := 0
	for _, s := range r.on {
		if s.want {
			n++
		}
	}
	return n
}

// renew replaces pods of older templates as far as the strategy allows.
func (r *daemons) renew() {
	if r.d.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return
	}
	if surge, unavailable := r.fence(); surge > 0 {
		r.surge(surge)
	} else {
		r.swap(unavailable)
	}
}

// pair are the pods of a node that stay as far as the plan goes: one of the wanted template, and an older one.
func (r *daemons) pair(s *station) (fresh, old *corev1.Pod) {
	for _, p := range s.pods {
		switch {
		case r.gone[p.UID] || !active(p):
		case r.fresh(p) && fresh == nil:
			fresh = p
		case !r.fresh(p) && old == nil:
			old = p
		}
	}
	return fresh, old
}

// swap deletes old pods, for others to take their place: those that are not available at once, the others while no more
// than allowed are missing.
func (r *daemons) swap(allowed int) {
	var ready []*corev1.Pod
	for _, s := range r.on {
		if !s.want && !s.keep || len(s.pods) == 0 && !s.want {
			continue
		}
		fresh, old := r.pair(s)
		switch {
		case fresh != nil:
			if ok, _ := r.available(fresh); !ok {
				allowed--
			}
		case old == nil:
			allowed--
		default:
			if ok, _ := r.available(old); ok {
				ready = append(ready, old)
			} else {
				r.remove(old, "its template is old")
				allowed--
			}
		}
	}
	for _, p := range ready[:max(min(allowed, len(ready)), 0)] {
		r.remove(p, "its template is old")
	}
}

// surge makes new pods beside old ones: at once where the old is not available, elsewhere while no more than allowed are
// there. An old one goes when the new one is available.
func (r *daemons) surge(allowed int) {
	var ready []*station
	for _, s := range r.on {
		if !s.want {
			continue
		}
		fresh, old := r.pair(s)
		switch {
		case old == nil:
		case fresh != nil:
			allowed-- // tidy removes the old one when its time has come
		default:
			if ok, _ := r.available(old); ok {
				ready = append(ready, s)
			} else {
				r.create(s, "its template is new, and the old one is not available")
			}
		}
	}
	for _, s := range ready[:max(min(allowed, len(ready)), 0)] {
		r.create(s, "its template is new")
	}
}

// status counts what is there.
func (r *daemons) status() {
	s := appsv1.DaemonSetStatus{ObservedGeneration: r.d.Generation, CollisionCount: r.next.Status.CollisionCount, Conditions: r.d.Status.Conditions}
	for _, on := range r.on {
		switch {
		case on.want:
			s.DesiredNumberScheduled++
			if len(on.pods) > 0 {
				s.CurrentNumberScheduled++
				r.count(&s, on.pods[0])
			}
		case len(on.pods) > 0:
			s.NumberMisscheduled++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	r.next.Status = s
}

// count looks at the oldest pod of a node.
func (r *daemons) count(s *appsv1.DaemonSetStatus, p *corev1.Pod) {
	if r.fresh(p) {
		s.UpdatedNumberScheduled++
	}
	if _, ok := readySince(p); !ok {
		return
	}
	s.NumberReady++
	if ok, left := r.available(p); ok {
		s.NumberAvailable++
	} else {
		r.plan.Again(left)
	}
}

// belongs tells whether a pod of d should be on n, and whether one that is there may stay.
func belongs(d *appsv1.DaemonSet, n *corev1.Node) (want, keep bool) {
	spec := &d.Spec.Template.Spec
	if spec.NodeName != "" && spec.NodeName != n.Name {
		return false, false
	}
	if ok, err := nodeaffinity.GetRequiredNodeAffinity(&corev1.Pod{Spec: *spec}).Match(n); err != nil || !ok {
		return false, false
	}
	bears := append(slices.Clone(spec.Tolerations), daemonTolerations(spec)...)
	taint := func(effects ...corev1.TaintEffect) bool {
		_, found := helper.FindMatchingUntoleratedTaint(klog.Background(), n.Spec.Taints, bears, func(t *corev1.Taint) bool { return slices.Contains(effects, t.Effect) }, false)
		return found
	}
	return !taint(corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule), !taint(corev1.TaintEffectNoExecute)
}

// daemonTolerations are those that every daemon has: it stays on nodes that are not well, and starts on them.
func daemonTolerations(s *corev1.PodSpec) []corev1.Toleration {
	t := func(key string, effect corev1.TaintEffect) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
	}
	all := []corev1.Toleration{
		t(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute), t(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute),
		t(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule), t(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule),
		t(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule), t(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule),
	}
	if s.HostNetwork {
		all = append(all, t(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule))
	}
	return all
}

// daemonPod is a pod of d for a node. The scheduler binds it, as any other: nothing but the node's name suits it.
func daemonPod(d *appsv1.DaemonSet, node, suffix, hash string) *corev1.Pod {
	p := podOf(&d.Spec.Template, d, daemonSetVersion)
	p.GenerateName, p.Name = d.Name+"-", podName(d.Name, suffix)
	p.Labels = maps.Clone(p.Labels)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] = hash
	if n, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		p.Labels["pod-template-generation"] = n
	}
	s := &p.Spec
	for _, t := range daemonTolerations(s) {
		if !slices.ContainsFunc(s.Tolerations, func(o corev1.Toleration) bool { return o.MatchToleration(&t) }) {
			s.Tolerations = append(s.Tolerations, t)
		}
	}
	if s.Affinity == nil {
		s.Affinity = &corev1.Affinity{}
	}
	if s.Affinity.NodeAffinity == nil {
		s.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	s.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
	return p
}

// nodeFor is the node that a daemon's pod is on, or for.
func nodeFor(p *corev1.Pod) string {
	a := p.Spec.Affinity
	if p.Spec.NodeName != "" || a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return p.Spec.NodeName
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}
