package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/indexes"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// yard is a store with the real engine, a node whose pods end well or badly, and one Job.
type yard struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	scheme *scheme.Scheme
	store  *store.Memory
	engine *control.Engine

	succeeded, failed map[types.UID]bool // pods that ended so while they were tracked
	reached           map[int]bool       // indexes that succeeded
	counted           map[types.UID]bool // pods that were let go
	dismissed         int32              // pods that were let go before they had ended
}

func newYard(t *testing.T, s *scheme.Scheme, seed uint64, job func(*rand.Rand, *batchv1.JobSpec)) *yard {
	y := &yard{t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: controltest.Now, scheme: s,
		succeeded: map[types.UID]bool{}, failed: map[types.UID]bool{}, reached: map[int]bool{}, counted: map[types.UID]bool{}}
	objects := controltest.Objects(t, s, `
apiVersion: v1
kind: Namespace
metadata: {name: hello}
---
apiVersion: batch/v1
kind: Job
metadata: {name: work, namespace: hello, uid: job, generation: 1}
spec:
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: job}}
  template:
    metadata: {labels: {batch.kubernetes.io/controller-uid: job}}
    spec: {restartPolicy: Never, containers: [{name: work, image: 'hello:0'}]}
`)
	job(y.rng, &objects[1].(*batchv1.Job).Spec)
	y.store = controltest.Store(t, s, nil, objects...)
	y.begin()
	return y
}

// begin starts the controllers: also anew, as after a crash.
func (y *yard) begin() {
	opts := control.Options{Now: func() time.Time { return y.now }, Rand: y.rng}
	y.engine = control.NewEngine(y.store, control.NewCarrier(y.scheme), opts, Job{}, lifecycle.Garbage{})
}

func (y *yard) job() *batchv1.Job {
	j, ok := store.Get[*batchv1.Job](y.store.Snapshot(), "hello", "work")
	if !ok {
		y.t.Fatal("the Job is gone")
	}
	return j
}

func (y *yard) pods(where ...store.Where) []*corev1.Pod {
	return slices.Collect(store.List[*corev1.Pod](y.store.Snapshot(), where...))
}

func (y *yard) update(fn func(*store.Tx) error) {
	if _, err := y.store.Update(y.t.Context(), "test", fn); err != nil {
		y.t.Fatal(err)
	}
}

// work is the node's, or somebody's who deletes a pod: one pod goes on by one step.
func (y *yard) work(calm bool) {
	pods := y.pods()
	if len(pods) == 0 {
		return
	}
	old := pods[y.rng.IntN(len(pods))]
	p := old.DeepCopy()
	over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch {
	case p.DeletionTimestamp != nil && (over || p.Spec.NodeName == ""):
		if len(p.Finalizers) == 0 {
			y.update(func(tx *store.Tx) error { return tx.Delete(tx.Key(p)) })
		}
		return
	case p.DeletionTimestamp != nil:
		y.end(p, corev1.PodFailed)
	case over:
		return
	case !calm && y.rng.IntN(25) == 0:
		kind := y.scheme.Of(p)
		y.update(func(tx *store.Tx) error {
			live, _ := tx.Get(tx.Key(p))
			return control.Remove(tx, kind, live, "", y.now)
		})
		return
	case p.Spec.NodeName == "":
		p.Spec.NodeName, p.Status.Phase = "n1", corev1.PodRunning
	case !calm && y.rng.IntN(3) == 0:
		y.end(p, corev1.PodFailed)
	default:
		y.end(p, corev1.PodSucceeded)
	}
	y.update(func(tx *store.Tx) error { return tx.Update(p) })
}

func (y *yard) end(p *corev1.Pod, phase corev1.PodPhase) {
	p.Status.Phase = phase
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "work", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: map[corev1.PodPhase]int32{corev1.PodFailed: 1}[phase], FinishedAt: metav1.NewTime(y.now.Truncate(time.Second)),
	}}}}
	if !tracked(p) {
		return
	}
	if phase == corev1.PodFailed {
		y.failed[p.UID] = true
		return
	}
	y.succeeded[p.UID] = true
	if i := indexOf(p); i >= 0 {
		y.reached[i] = true
	}
}

// step lets the controllers take one step, and checks each transaction of it.
func (y *yard) step() bool {
	before := y.store.Snapshot()
	busy := y.engine.Step(y.t.Context())
	y.check(before, y.store.Snapshot())
	return busy
}

func (y *yard) check(before, after *store.Snapshot) {
	live := func(s *store.Snapshot) (n int) {
		for range store.List[*corev1.Pod](s, store.OwnedBy("job"), store.Active) {
			n++
		}
		return n
	}
	j := y.job()
	if a, b := live(after), live(before); a > b && a > int(*j.Spec.Parallelism) {
		y.t.Errorf("%d pods are active, %d before, where %d may be", a, b, *j.Spec.Parallelism)
	}
	for p := range store.List[*corev1.Pod](before, store.Matching(tracked)) {
		if q, ok := store.Get[*corev1.Pod](after, p.Namespace, p.Name); ok && q.UID == p.UID && tracked(q) {
			continue
		}
		if y.counted[p.UID] {
			y.t.Errorf("pod %s was let go twice", p.Name)
		}
		if y.counted[p.UID] = true; !y.succeeded[p.UID] && !y.failed[p.UID] {
			y.dismissed++
		}
	}
	want := int32(0)
	for uid := range y.succeeded {
		if y.counted[uid] {
			want++
		}
	}
	if j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion {
		completed, err := indexes.Parse(j.Status.CompletedIndexes, int(*j.Spec.Completions))
		if err != nil || completed.Len() != int(j.Status.Succeeded) {
			y.t.Errorf("%d succeeded, of the indexes %q (%v)", j.Status.Succeeded, j.Status.CompletedIndexes, err)
		}
		for i := range int(*j.Spec.Completions) {
			if completed.Has(i) && !y.reached[i] {
				y.t.Errorf("index %d is complete, and never succeeded", i)
			}
		}
	} else if j.Status.Succeeded != want {
		y.t.Errorf("%d pods are counted as succeeded, %d were let go that did", j.Status.Succeeded, want)
	}
	var failures int32
	for uid := range y.failed {
		if y.counted[uid] {
			failures++
		}
	}
	if n := j.Status.Failed; n < failures || n > failures+y.dismissed {
		y.t.Errorf("%d pods are counted as failed; %d were let go that did, and %d that were ending", n, failures, y.dismissed)
	}
	if len(j.Status.UncountedTerminatedPods.Failed)+len(j.Status.UncountedTerminatedPods.Succeeded) > 0 {
		y.t.Error("there are uncounted pods in the status")
	}
}

func (y *yard) run() {
	for range 200 {
		y.now = y.now.Add(time.Duration(y.rng.IntN(20)) * time.Second)
		switch n := y.rng.IntN(24); {
		case n == 0:
			y.begin()
		case n < 14:
			y.work(false)
		default:
			for y.step() && y.rng.IntN(2) == 0 {
			}
		}
	}
	for range 5000 {
		for y.step() {
		}
		if jobFinished(y.job()) && len(y.pods(store.Matching(tracked))) == 0 && len(y.pods(store.Active)) == 0 {
			return
		}
		y.now = y.now.Add(10 * time.Second)
		y.work(true)
	}
	y.t.Fatalf("it does not end: %+v", y.job().Status)
}

// quiet checks that nothing is left to be done.
func (y *yard) quiet() {
	rev := y.store.Snapshot().Revision()
	y.now = y.now.Add(time.Hour)
	y.begin()
	for y.step() {
	}
	if got := y.store.Snapshot().Revision(); got != rev {
		y.t.Errorf("the controllers still write after the Job has ended: revision %d, then %d", rev, got)
	}
}

func TestJobsCountExactlyAndEnd(t *testing.T) {
	s := scheme.New(scheme.Options{})
	kinds := map[string]func(*rand.Rand, *batchv1.JobSpec){
		"completions": func(r *rand.Rand, j *batchv1.JobSpec) {
			j.Completions, j.Parallelism, j.BackoffLimit = new(int32(r.IntN(6)+1)), new(int32(r.IntN(4)+1)), new(int32(100))
		},
		"queue": func(r *rand.Rand, j *batchv1.JobSpec) {
			j.Completions, j.Parallelism, j.BackoffLimit = nil, new(int32(r.IntN(4)+1)), new(int32(100))
		},
		"indexed": func(r *rand.Rand, j *batchv1.JobSpec) {
			j.Completions, j.Parallelism, j.BackoffLimit = new(int32(r.IntN(6)+1)), new(int32(r.IntN(4)+1)), new(int32(100))
			j.CompletionMode = new(batchv1.IndexedCompletion)
		},
		"per index": func(r *rand.Rand, j *batchv1.JobSpec) {
			j.Completions, j.Parallelism = new(int32(r.IntN(6)+1)), new(int32(r.IntN(4)+1))
			j.CompletionMode, j.BackoffLimitPerIndex = new(batchv1.IndexedCompletion), new(int32(r.IntN(3)))
		},
		"few failures": func(r *rand.Rand, j *batchv1.JobSpec) {
			j.Completions, j.Parallelism, j.BackoffLimit = new(int32(r.IntN(6)+1)), new(int32(r.IntN(4)+1)), new(int32(r.IntN(3)))
		},
		"ended first": func(r *rand.Rand, j *batchv1.JobSpec) {
			j.Completions, j.Parallelism, j.BackoffLimit = new(int32(r.IntN(6)+1)), new(int32(r.IntN(4)+1)), new(int32(100))
			j.PodReplacementPolicy = new(batchv1.Failed)
		},
	}
	for name, spec := range kinds {
		for seed := range uint64(15) {
			t.Run(fmt.Sprint(name, " seed ", seed), func(t *testing.T) {
				y := newYard(t, s, seed, spec)
				y.run()
				y.quiet()
				j := y.job()
				if n := j.Spec.Completions; jobIs(j, batchv1.JobComplete) && n != nil && j.Status.Succeeded != *n {
					t.Errorf("it is complete with %d of %d", j.Status.Succeeded, *n)
				}
				if failing := name == "per index" || name == "few failures"; jobIs(j, batchv1.JobFailed) && !failing {
					t.Errorf("it failed: %+v", j.Status.Conditions)
				}
				if jobIs(j, batchv1.JobFailed) && name == "few failures" && j.Status.Failed <= *j.Spec.BackoffLimit {
					t.Errorf("it failed after %d failures, with a limit of %d", j.Status.Failed, *j.Spec.BackoffLimit)
				}
			})
		}
	}
}
