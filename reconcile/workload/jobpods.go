package workload

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/indexes"
)

var (
	jobKind    = schema.GroupKind{Group: batchv1.GroupName, Kind: "Job"}
	jobVersion = batchv1.SchemeGroupVersion.WithKind("Job")
)

// manage deletes the pods that are too many, or makes those that are missing: never both in one plan.
func (r *run) manage() {
	if r.suspended() {
		r.remove(r.live)
		return
	}
	surplus := r.surplus(max(len(r.live)-r.wanted(), 0))
	if len(surplus) > 0 {
		r.remove(surplus[:min(len(surplus), mostAtOnce)])
		return
	}
	missing := r.wanted() - len(r.live)
	if waitsForEnd(r.job) {
		for _, p := range r.pods {
			if ending(p) {
				missing--
			}
		}
	}
	if missing <= 0 {
		return
	}
	if r.job.Spec.BackoffLimitPerIndex == nil {
		if wait := r.backOff(); wait > 0 {
			r.plan.Again(wait)
			return
		}
	}
	r.add(min(missing, mostAtOnce))
}

// wanted is how many pods should be active.
func (r *run) wanted() int {
	parallelism := int(replicas(r.job.Spec.Parallelism))
	if n := r.job.Spec.Completions; n != nil {
		return max(min(int(*n-r.successes), parallelism), 0)
	}
	if r.successes > 0 {
		return len(r.live) // those that run know when they are done
	}
	return parallelism
}

// surplus are at least n of the active pods, and all with an index that another has, or that there is not. Of two, the one
// that is further stays.
func (r *run) surplus(n int) []*corev1.Pod {
	ranked := leastWanted(r.live, r.Now)
	if !r.indexed() {
		return ranked[:n]
	}
	most := map[int]*corev1.Pod{}
	for _, p := range ranked {
		most[indexOf(p)] = p
	}
	var out, rest []*corev1.Pod
	for _, p := range ranked {
		if i := indexOf(p); !r.within(i) || most[i] != p {
			out = append(out, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(out, rest[:min(max(n-len(out), 0), len(rest))]...)
}

// remove deletes pods, and counts them no more.
func (r *run) remove(pods []*corev1.Pod) {
	for _, p := range pods {
		if metav1.GetControllerOf(p) == nil {
			continue // just adopted: its next revision is deleted
		}
		if tracked(p) {
			r.plan.Update(untracked(p), "it is not counted")
		}
		r.plan.Delete(p, "its Job needs it no more")
		r.plan.Event(r.job, "SuccessfulDelete", "Deleted pod: %s", p.Name)
		r.deleted[p] = true
	}
}

// add makes up to n pods.
func (r *run) add(n int) {
	if !r.indexed() {
		for range n {
			if !r.create(r.pod(), -1) {
				return
			}
		}
		return
	}
	var soonest time.Duration
	added := 0
	for _, i := range r.pending() {
		if added == n {
			break
		}
		if wait := r.backOffOf(r.replaced[i]); wait > 0 {
			if soonest == 0 || wait < soonest {
				soonest = wait
			}
			continue
		}
		if !r.create(r.indexedPod(i), i) {
			return
		}
		added++
	}
	r.plan.Again(soonest)
}

// pending are the indexes for which nothing runs, and that are not over.
func (r *run) pending() []int {
	var taken []int
	for _, p := range r.live {
		taken = append(taken, max(indexOf(p), 0))
	}
	for _, p := range r.pods {
		if waitsForEnd(r.job) && ending(p) && indexOf(p) >= 0 {
			taken = append(taken, indexOf(p))
		}
	}
	over := r.succeeded.Or(r.failed).Or(indexes.Of(taken...))
	return over.Missing(2*mostAtOnce, int(*r.job.Spec.Completions))
}

// create adds the creation of pod. A pod that it replaces can be counted now. It returns false if it is of no use to try others.
func (r *run) create(pod *corev1.Pod, index int) bool {
	if r.trial == nil {
		r.trial = r.Trial()
	}
	if err := r.trial.Create(pod); err != nil {
		r.plan.Warn(r.job, failedCreate, "Error creating: %s", err)
		r.plan.Again(refusedAgain)
		return false
	}
	r.plan.Create(pod, "a pod is missing")
	r.plan.Event(r.job, "SuccessfulCreate", "Created pod: %s", pod.Name)
	r.created++
	delete(r.replaced, index)
	return true
}

// pod makes a pod of the Job.
func (r *run) pod() *corev1.Pod {
	t := r.job.Spec.Template.DeepCopy()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: r.job.Name + "-", Namespace: r.job.Namespace,
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r.job, jobVersion)},
		},
		Spec: t.Spec,
	}
	p.Name = podName(r.job.Name, suffix(r.Rand))
	if !tracked(p) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	return p
}

// indexedPod makes the pod of one index, which it finds in a label, an annotation, its environment and its host name.
func (r *run) indexedPod(index int) *corev1.Pod {
	p, n := r.pod(), strconv.Itoa(index)
	const keep = 52 // letters of the Job's name, so that the index is still to be seen
	p.GenerateName = r.job.Name[:min(len(r.job.Name), keep)] + "-" + n + "-"
	p.Name = p.GenerateName + suffix(r.Rand)
	p.Spec.Hostname = r.job.Name + "-" + n
	p.Labels, p.Annotations = maps.Clone(p.Labels), maps.Clone(p.Annotations)
	metav1.SetMetaDataLabel(&p.ObjectMeta, batchv1.JobCompletionIndexAnnotation, n)
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, batchv1.JobCompletionIndexAnnotation, n)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			withIndex(&list[i])
		}
	}
	if r.job.Spec.BackoffLimitPerIndex == nil {
		return p
	}
	failed, ignored := 0, 0
	if was := r.replaced[index]; was != nil {
		failed, ignored = failuresOf(was)
		if verdict(r.job, was).counts {
			failed++
		} else {
			ignored++
		}
	}
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(failed))
	if ignored > 0 {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(ignored))
	}
	return p
}

func withIndex(c *corev1.Container) {
	const name = "JOB_COMPLETION_INDEX"
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)},
	}})
}

// indexOf is the index that p works on; -1 if it has none.
func indexOf(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return -1
	}
	return max(n, -1)
}

// failuresOf is how often its index had failed when p was made.
func failuresOf(p *corev1.Pod) (counted, ignored int) {
	read := func(key string) int {
		n, err := strconv.ParseInt(p.Annotations[key], 10, 32)
		if err != nil {
			return 0
		}
		return int(max(n, 0))
	}
	return read(batchv1.JobIndexFailureCountAnnotation), read(batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// indexFailed tells whether with p its index has failed for good.
func (r *run) indexFailed(p *corev1.Pod) bool {
	limit := r.job.Spec.BackoffLimitPerIndex
	if limit == nil {
		return false
	}
	v := verdict(r.job, p)
	counted, _ := failuresOf(p)
	return v.action == batchv1.PodFailurePolicyActionFailIndex || v.counts && counted >= int(*limit)
}

// lastFailures are the failed pods that wait for another to take their place, by index.
func (r *run) lastFailures() map[int]*corev1.Pod {
	all := map[int]*corev1.Pod{}
	runs := map[int]bool{}
	for _, p := range r.live {
		runs[indexOf(p)] = true
	}
	total := func(p *corev1.Pod) int {
		counted, ignored := failuresOf(p)
		return counted + ignored
	}
	for _, p := range r.pods {
		i := indexOf(p)
		if !r.counts(p) || !r.failedPod(p) || r.succeeded.Has(i) || r.failed.Has(i) || runs[i] {
			continue
		}
		if was := all[i]; was == nil || total(p) > total(was) || total(p) == total(was) && !endedAt(p).Before(endedAt(was)) {
			all[i] = p
		}
	}
	return all
}
