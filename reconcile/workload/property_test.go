package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// town is a store with the real engine, a node that takes its time, and a user who keeps changing one Deployment.
type town struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time
	store   *store.Memory
	engine  *control.Engine
	resized bool // the user changed the size and the controllers are not done with it: fewer may be ready than promised
}

func newTown(t *testing.T, s *scheme.Scheme, seed uint64) *town {
	w := &town{t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: controltest.Now}
	w.store = controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: v1
kind: Namespace
metadata: {name: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: hello, generation: 1}
spec:
  replicas: 3
  revisionHistoryLimit: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'hello:0'}]}
`)...)
	opts := control.Options{Now: func() time.Time { return w.now }, Rand: w.rng}
	w.engine = control.NewEngine(w.store, control.NewCarrier(s), opts, Deployment{}, ReplicaSet{}, lifecycle.Garbage{})
	return w
}

func (w *town) deployment() *appsv1.Deployment {
	d, ok := store.Get[*appsv1.Deployment](w.store.Snapshot(), "hello", "web")
	if !ok {
		w.t.Fatal("the Deployment is gone")
	}
	return d
}

func (w *town) pods(where ...store.Where) []*corev1.Pod {
	return slices.Collect(store.List[*corev1.Pod](w.store.Snapshot(), where...))
}

func (w *town) update(why string, fn func(*store.Tx) error) {
	if _, err := w.store.Update(w.t.Context(), why, fn); err != nil {
		w.t.Fatal(err)
	}
}

// change is the user's.
func (w *town) change() {
	d := w.deployment().DeepCopy()
	d.Generation++
	switch w.rng.IntN(5) {
	case 0:
		n := int32(w.rng.IntN(9))
		d.Spec.Replicas = &n
		w.resized = true
	case 1, 2:
		d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("hello:%d", w.rng.IntN(4))
	case 3:
		surge, unavailable := intstr.FromInt(w.rng.IntN(3)), intstr.FromString(fmt.Sprintf("%d%%", w.rng.IntN(60)))
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}}
		w.resized = true
	case 4:
		d.Spec.Paused = !d.Spec.Paused
	}
	w.update("user", func(tx *store.Tx) error { return tx.Update(d) })
}

// work is the node's: it moves one pod on by one step.
func (w *town) work(calm bool) {
	pods := w.pods()
	if len(pods) == 0 {
		return
	}
	old := pods[w.rng.IntN(len(pods))]
	w.update("node", func(tx *store.Tx) error {
		p := old.DeepCopy()
		switch {
		case p.DeletionTimestamp != nil:
			return tx.Delete(tx.Key(p))
		case p.Spec.NodeName == "":
			p.Spec.NodeName = "n1"
			p.Status.Phase = corev1.PodRunning
		case !calm && w.rng.IntN(20) == 0:
			p.Status.Phase = corev1.PodFailed
		default:
			_, is := readySince(p)
			if is && (calm || w.rng.IntN(10) > 0) {
				return nil
			}
			status := corev1.ConditionTrue
			if is {
				status = corev1.ConditionFalse
			}
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(w.now)}}
		}
		return tx.Update(p)
	})
}

// step lets the controllers take one step, and checks what it did.
func (w *town) step() bool {
	before := w.store.Snapshot()
	busy := w.engine.Step(w.t.Context())
	w.check(before, w.store.Snapshot())
	return busy
}

func (w *town) check(before, after *store.Snapshot) {
	d := w.deployment()
	want := replicas(d.Spec.Replicas)
	surge, unavailable := resolveFence(d.Spec.Strategy.RollingUpdate.MaxSurge, d.Spec.Strategy.RollingUpdate.MaxUnavailable, want)

	asked := func(s *store.Snapshot) (n int32) {
		for rs := range store.List[*appsv1.ReplicaSet](s) {
			n += replicas(rs.Spec.Replicas)
		}
		return n
	}
	if a := asked(after); a > want+surge && a > asked(before) {
		w.t.Errorf("%d replicas are asked for, %d before, where %d and a surge of %d are allowed", a, asked(before), want, surge)
	}
	live := func(s *store.Snapshot, rs *appsv1.ReplicaSet) (n int32) {
		for range store.List[*corev1.Pod](s, store.OwnedBy(rs.UID), store.Active) {
			n++
		}
		return n
	}
	for rs := range store.List[*appsv1.ReplicaSet](after) {
		most := replicas(rs.Spec.Replicas)
		if was, ok := store.Get[*appsv1.ReplicaSet](before, rs.Namespace, rs.Name); ok {
			most = max(most, replicas(was.Spec.Replicas))
		}
		if n := live(after, rs); n > most && n > live(before, rs) {
			w.t.Errorf("%s has %d pods, %d before, asked for %d", rs.Name, n, live(before, rs), most)
		}
	}
	// lasting counts the pods that were ready before and that, going by the sizes, are to stay.
	lasting := func(sizes *store.Snapshot) (n int32) {
		for rs := range store.List[*appsv1.ReplicaSet](sizes) {
			var ready int32
			for p := range store.List[*corev1.Pod](before, store.OwnedBy(rs.UID), store.Active) {
				if _, ok := readySince(p); ok {
					ready++
				}
			}
			n += min(ready, replicas(rs.Spec.Replicas))
		}
		return n
	}
	if has, had := lasting(after), lasting(before); has < had && has < want-min(unavailable, want) && !w.resized {
		w.t.Errorf("%d pods were ready and to stay, now %d of %d are, with %d allowed to be unavailable", had, has, want, unavailable)
	}
}

// settle lets everything run to its end, with nothing going wrong any more.
func (w *town) settle() {
	w.update("user", func(tx *store.Tx) error {
		d := w.deployment().DeepCopy()
		d.Generation++
		d.Spec.Paused = false
		return tx.Update(d)
	})
	for range 20_000 {
		for w.step() {
		}
		if w.settled() {
			return
		}
		w.work(true)
	}
	w.t.Fatalf("it does not converge: %+v", w.deployment().Status)
}

func (w *town) settled() bool {
	d := w.deployment()
	want := replicas(d.Spec.Replicas)
	pods := w.pods()
	for _, p := range pods {
		if _, ok := readySince(p); !ok && p.Status.Phase != corev1.PodFailed || p.DeletionTimestamp != nil {
			return false
		}
	}
	live := w.pods(store.Active)
	for _, p := range live {
		if p.Spec.Containers[0].Image != d.Spec.Template.Spec.Containers[0].Image {
			return false
		}
	}
	s := d.Status
	return len(live) == int(want) && s.Replicas == want && s.UpdatedReplicas == want && s.AvailableReplicas == want && s.ObservedGeneration == d.Generation
}

func TestRolloutsKeepTheirPromisesAndConverge(t *testing.T) {
	s := scheme.New(scheme.Options{})
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newTown(t, s, seed)
			for range 300 {
				w.now = w.now.Add(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
				switch n := w.rng.IntN(20); {
				case n == 0:
					w.change()
				case n < 10:
					w.work(false)
				default:
					if !w.step() {
						w.resized = false
					}
				}
			}
			w.settle()
			limit := int(*w.deployment().Spec.RevisionHistoryLimit) + 1
			if n := w.store.Snapshot().Len(replicaSetKind); n > limit {
				t.Errorf("%d ReplicaSets are kept, at most %d should be", n, limit)
			}
			rev := w.store.Snapshot().Revision()
			w.now = w.now.Add(time.Minute)
			for w.step() {
			}
			if got := w.store.Snapshot().Revision(); got != rev {
				t.Errorf("the controllers still write after everything has settled: revision %d, then %d", rev, got)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
