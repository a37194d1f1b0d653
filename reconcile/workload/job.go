package workload

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/indexes"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Job runs pods until as many have succeeded as each Job asks for. A pod keeps the tracking finalizer until its result is
// counted: counting it and letting it go are one transaction, so that no result is lost or counted twice, and
// status.uncountedTerminatedPods stays empty.
type Job struct{}

func (Job) Name() string { return "job-controller" }

func (Job) Owns() []control.Owned {
	return []control.Owned{{Kind: podKind}, {Kind: jobKind, Part: control.Status}}
}

func (Job) Watches() []control.Watch {
	return []control.Watch{
		{Kind: jobKind, Keys: jobAndLeftPods},
		control.Controlled(podKind, jobKind),
		{Kind: podKind, Keys: leftPod},
		{Kind: accountKind, Keys: accountWakes(func(j *batchv1.Job) *corev1.PodTemplateSpec { return &j.Spec.Template })},
		{Kind: podKind, Keys: orphanWakes(jobKind, func(j *batchv1.Job) *metav1.LabelSelector { return j.Spec.Selector })},
	}
}

// jobAndLeftPods are a Job and, when it is over or gone, its pods: what is left to count of them counts for nothing.
func jobAndLeftPods(s *store.Snapshot, c store.Change) []store.Key {
	keys := []store.Key{s.Key(c.Object())}
	if c.New != nil && !jobFinished(c.New.(*batchv1.Job)) {
		return keys
	}
	for p := range store.List[*corev1.Pod](s, store.OwnedBy(c.Object().GetUID()), store.Matching(tracked)) {
		keys = append(keys, s.Key(p))
	}
	return keys
}

// leftPod is a pod whose result nobody will count.
func leftPod(s *store.Snapshot, c store.Change) []store.Key {
	if c.New == nil || !left(s, asPod(c.New)) {
		return nil
	}
	return []store.Key{s.Key(c.New)}
}

// left tells whether p waits to be counted, but its Job is over or gone.
func left(s *store.Snapshot, p *corev1.Pod) bool {
	if !tracked(p) {
		return false
	}
	r := metav1.GetControllerOf(p)
	if r == nil {
		return true
	}
	k, ok := control.ControllerOf(p, jobKind)
	if !ok {
		return false // another controller's
	}
	j, ok := store.Get[*batchv1.Job](s, k.Namespace, k.Name)
	if !ok || j.UID != r.UID {
		return true
	}
	return jobFinished(j) && !elsewhereManaged(j)
}

// elsewhereManaged tells whether another controller sees to j.
func elsewhereManaged(j *batchv1.Job) bool {
	return j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName
}

// mostAtOnce bounds how many pods one plan creates, deletes or counts.
const mostAtOnce = 500

// A run is one Job while it is planned.
type run struct {
	trial *control.Trial // of the pods that are created; nil while there are none
	control.World
	job  *batchv1.Job // as it is
	next *batchv1.Job // as it shall be: status
	pods []*corev1.Pod
	live []*corev1.Pod // those of pods that are active

	succeeded, failed   indexes.Set // of an indexed Job, with what is not counted yet
	successes, failures int32       // in all, with what is not counted yet
	replaced            map[int]*corev1.Pod
	end                 *batchv1.JobCondition // why it ends: FailureTarget or SuccessCriteriaMet

	deleted map[*corev1.Pod]bool
	created int32
	more    bool // there are too many to count them all in this plan
	plan    control.Plan
}

// Plan moves a Job on by one step, or lets a pod go that is left over.
func (Job) Plan(w control.World, key store.Key) (control.Plan, error) {
	if key.Kind == podKind {
		return letGo(w, key), nil
	}
	job, ok := store.Get[*batchv1.Job](w.Snapshot, key.Namespace, key.Name)
	if !ok || elsewhereManaged(job) || jobFinished(job) {
		return control.Plan{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return control.Plan{}, err
	}
	w.Now = w.Now.Truncate(time.Second) // as the times in the status are kept
	r := &run{World: w, job: job, next: job.DeepCopy(), deleted: map[*corev1.Pod]bool{}}
	r.gather(familyOf[*corev1.Pod](w.Snapshot, job, selector))
	r.tally()
	r.judge()
	if r.end != nil {
		r.remove(r.live)
	} else if job.DeletionTimestamp == nil {
		r.manage()
		r.complete()
	}
	r.count()
	r.finish()
	if !equality.Semantic.DeepEqual(r.job.Status, r.next.Status) {
		r.plan.Status(r.next, "its pods changed")
	}
	return r.plan, nil
}

// letGo removes the tracking finalizer from a pod that nobody counts.
func letGo(w control.World, key store.Key) (p control.Plan) {
	if pod, ok := store.Get[*corev1.Pod](w.Snapshot, key.Namespace, key.Name); ok && left(w.Snapshot, pod) {
		p.Update(untracked(pod), "its Job counts no more")
	}
	return p
}

// gather adopts and releases as labels say. What is adopted is counted from the next plan on.
func (r *run) gather(f family[*corev1.Pod]) {
	for _, pod := range f.adopted {
		c := withOwner(pod, r.job, jobVersion)
		if !tracked(c) {
			c.Finalizers = append(c.Finalizers, batchv1.JobTrackingFinalizer)
		}
		r.plan.Update(c, "its labels match")
	}
	for _, pod := range f.released {
		r.plan.Update(untracked(withoutOwner(pod, r.job)), "its labels match no more")
	}
	r.pods = f.kept
	if r.indexed() {
		slices.SortStableFunc(r.pods, func(a, b *corev1.Pod) int { return indexOf(a) - indexOf(b) })
	}
	for _, p := range r.pods {
		if active(p) {
			r.live = append(r.live, p)
		}
	}
	for _, p := range f.adopted {
		if active(p) {
			r.live = append(r.live, p)
		}
	}
}

// tally adds up what is counted and what is to be counted.
func (r *run) tally() {
	s := &r.job.Status
	if r.next.Status.StartTime == nil && !r.suspended() {
		r.next.Status.StartTime = r.time()
	}
	r.successes, r.failures = s.Succeeded, s.Failed
	var succeeded, failed []int
	for _, p := range r.pods {
		if !r.counts(p) {
			continue
		}
		switch {
		case p.Status.Phase == corev1.PodSucceeded:
			r.successes++
			succeeded = append(succeeded, indexOf(p))
		case r.failedPod(p):
			if verdict(r.job, p).counts {
				r.failures++
			}
			if r.indexFailed(p) {
				failed = append(failed, indexOf(p))
			}
		}
	}
	if !r.indexed() {
		return
	}
	r.succeeded = known(s.CompletedIndexes, r.job).Or(indexes.Of(succeeded...))
	r.successes = int32(r.succeeded.Len())
	if r.job.Spec.BackoffLimitPerIndex != nil {
		if s.FailedIndexes != nil {
			r.failed = known(*s.FailedIndexes, r.job)
		}
		for _, n := range failed {
			if !r.succeeded.Has(n) {
				r.failed = r.failed.Or(indexes.Of(n))
			}
		}
		r.replaced = r.lastFailures()
	}
}

// counts tells whether p waits to be counted, and is of an index that there is.
func (r *run) counts(p *corev1.Pod) bool {
	return tracked(p) && (!r.indexed() || r.within(indexOf(p)))
}

func (r *run) within(index int) bool { return index >= 0 && index < int(*r.job.Spec.Completions) }

// known are the indexes that a status names. An elastic Job may have shrunk since.
func known(text string, j *batchv1.Job) indexes.Set {
	s, err := indexes.Parse(text, 1<<31-1)
	if err != nil {
		return nil
	}
	return s.Below(int(*j.Spec.Completions))
}

func (r *run) indexed() bool {
	return r.job.Spec.CompletionMode != nil && *r.job.Spec.CompletionMode == batchv1.IndexedCompletion
}

func (r *run) suspended() bool { return r.job.Spec.Suspend != nil && *r.job.Spec.Suspend }

func (r *run) time() *metav1.Time {
	t := metav1.NewTime(r.Now)
	return &t
}

// waitsForEnd: a pod that is ending is replaced only when it has ended, rather than at once.
func waitsForEnd(j *batchv1.Job) bool {
	return j.Spec.PodReplacementPolicy != nil && *j.Spec.PodReplacementPolicy == batchv1.Failed
}

// failedPod tells whether p has failed, or counts as if: one that is being deleted may never get to say so.
func (r *run) failedPod(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || neverRan(p) || !waitsForEnd(r.job) && ending(p)
}

// ending tells whether p still runs, but not for long.
func ending(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && !neverRan(p) && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// neverRan tells whether p was deleted before it came to a node: nobody else will say that it is over.
func neverRan(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && p.Spec.NodeName == "" }

func tracked(o store.Object) bool {
	return slices.Contains(o.GetFinalizers(), batchv1.JobTrackingFinalizer)
}

func untracked(p *corev1.Pod) *corev1.Pod {
	c := p.DeepCopy()
	c.Finalizers = slices.DeleteFunc(c.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
	return c
}

func jobFinished(j *batchv1.Job) bool {
	return jobIs(j, batchv1.JobComplete) || jobIs(j, batchv1.JobFailed)
}

func jobIs(j *batchv1.Job, t batchv1.JobConditionType) bool {
	c := jobCondition(j, t)
	return c != nil && c.Status == corev1.ConditionTrue
}

func jobCondition(j *batchv1.Job, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range j.Status.Conditions {
		if c := &j.Status.Conditions[i]; c.Type == t {
			return c
		}
	}
	return nil
}
