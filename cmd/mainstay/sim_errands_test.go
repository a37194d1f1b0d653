package main

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/autoscale"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// simErrand is the label of what somebody makes by hand, and takes away again before the cluster comes to rest.
const simErrand = "errand"

// errand has somebody start something by hand, beside what Git wants.
func (w *sim) errand() {
	if w.rng.IntN(6) > 0 {
		return
	}
	name := fmt.Sprint("errand-", w.steps)
	switch w.rng.IntN(8) {
	case 0, 1:
		w.make(w.simCronJob(name))
	case 2:
		w.make(&policyv1.PodDisruptionBudget{ObjectMeta: errandMeta(name), Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: new(intstr.FromString("50%")), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}})
	case 3:
		w.make(&appsv1.ReplicaSet{ObjectMeta: errandMeta(name), Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"burst": name}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"burst": name}}, Spec: corev1.PodSpec{
				TerminationGracePeriodSeconds: new(int64(2)),
				Containers: []corev1.Container{{Name: "web", Image: "example.com/web:v1", Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
				}}},
			}},
		}})
		w.make(&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: errandMeta(name), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name},
			MinReplicas:    new(int32(1 + w.rng.IntN(2))), MaxReplicas: 3,
		}})
	default:
		w.make(w.simJob(name))
	}
	w.rouse()
}

// simUsage says that all pods use much in some minutes, and little in others.
type simUsage struct{ sim *sim }

func (u simUsage) Latest() map[types.UID]map[string]autoscale.Used {
	all := map[types.UID]map[string]autoscale.Used{}
	if u.sim.life == nil {
		return all
	}
	for p := range store.List[*corev1.Pod](u.sim.life.store.Snapshot()) {
		all[p.UID] = map[string]autoscale.Used{"web": {Cores: 0.05 * float64(1+u.sim.now.Minute()%4), Memory: 1 << 20, At: u.sim.now, Window: 10 * time.Second}}
	}
	return all
}

func (w *sim) simCronJob(name string) *batchv1.CronJob {
	j := w.simJob(name)
	return &batchv1.CronJob{ObjectMeta: errandMeta(name), Spec: batchv1.CronJobSpec{
		Schedule: "* * * * *", SuccessfulJobsHistoryLimit: new(int32(w.rng.IntN(2))), FailedJobsHistoryLimit: new(int32(0)),
		ConcurrencyPolicy: []batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}[w.rng.IntN(3)],
		JobTemplate:       batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: j.Labels}, Spec: j.Spec},
	}}
}

func (w *sim) simJob(name string) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: errandMeta(name), Spec: batchv1.JobSpec{
		Completions: new(int32(1 + w.rng.IntN(3))), Parallelism: new(int32(1 + w.rng.IntN(2))), BackoffLimit: new(int32(w.rng.IntN(4))),
		TTLSecondsAfterFinished: new(int32(w.rng.IntN(20))), Template: errandTemplate("example.com/web:" + []string{"task", "task", "crash"}[w.rng.IntN(3)]),
	}}
	if w.rng.IntN(2) == 0 {
		j.Spec.CompletionMode = new(batchv1.IndexedCompletion)
	}
	return j
}

func errandMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: name, Labels: map[string]string{simErrand: "yes"}}
}

func errandTemplate(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: new(int64(2)),
		Containers: []corev1.Container{{Name: "web", Image: image}},
	}}
}

// make creates o, as somebody with kubectl would.
func (w *sim) make(o store.Object) {
	w.byHand(func(tx *store.Tx) error {
		if _, ok := store.Get[*corev1.Namespace](tx.Snapshot, "", o.GetNamespace()); !ok {
			return nil
		}
		var p control.Plan
		p.Create(o, "somebody wants it")
		return w.life.carrier.Carry(tx, control.World{Snapshot: tx.Snapshot, Now: w.now, Rand: w.rng}, "kubectl", p)
	})
}

// errands are the keys of what was made by hand.
func errands(s *store.Snapshot) (all []store.Object) {
	for o := range s.List(store.Query{}) {
		if o.GetLabels()[simErrand] != "" {
			all = append(all, o)
		}
	}
	return all
}

// dismiss deletes what was made by hand.
func (w *sim) dismiss() {
	w.byHand(func(tx *store.Tx) error {
		for _, o := range errands(tx.Snapshot) {
			if o.GetDeletionTimestamp() != nil {
				continue
			}
			if err := control.Remove(tx, w.scheme.Of(o), o, metav1.DeletePropagationBackground, w.now); err != nil {
				return err
			}
		}
		return nil
	})
	w.rouse()
}

// jobs checks that no Job has more pods than it may, and that one that is complete is whole.
func (c *simCheck) jobs(after *store.Snapshot, d store.Delta) {
	if d.Why != "controllers" {
		return
	}
	active := func(s *store.Snapshot, j *batchv1.Job) (n int32) {
		for range store.List[*corev1.Pod](s, store.OwnedBy(j.UID), store.Active) {
			n++
		}
		return n
	}
	for j := range store.List[*batchv1.Job](after) {
		if n := active(after, j); n > *j.Spec.Parallelism && n > active(c.life.planned, j) {
			c.t.Errorf("%s has %d active pods, %d are allowed", j.Name, n, *j.Spec.Parallelism)
		}
		for _, cond := range j.Status.Conditions {
			if cond.Type == batchv1.JobComplete && j.Status.Succeeded != *j.Spec.Completions {
				c.t.Errorf("%s is complete with %d of %d", j.Name, j.Status.Succeeded, *j.Spec.Completions)
			}
		}
	}
}

// sizes checks that autoscalers keep between their smallest and largest size.
func (c *simCheck) sizes(after *store.Snapshot, d store.Delta) {
	for _, ch := range d.Changes {
		was, changed := ch.Old.(*appsv1.ReplicaSet)
		is, there := ch.New.(*appsv1.ReplicaSet)
		if !changed || !there || *was.Spec.Replicas == *is.Spec.Replicas {
			continue
		}
		h, ok := store.Get[*autoscalingv2.HorizontalPodAutoscaler](after, is.Namespace, is.Name)
		if n := *is.Spec.Replicas; ok && (n < *h.Spec.MinReplicas || n > h.Spec.MaxReplicas) {
			c.t.Errorf("%s is given %d replicas", is.Name, n)
		}
	}
}

// restErrands: nothing of them is left.
func (w *sim) restErrands(s *store.Snapshot) {
	for o := range s.List(store.Query{}) {
		if strings.HasPrefix(o.GetName(), "errand-") && s.Key(o).Kind.Kind != "Event" {
			w.t.Errorf("%s is left", s.Key(o))
		}
	}
}
