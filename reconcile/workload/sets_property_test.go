package workload

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// village is a store with the real engine, nodes that take their time, and a user who keeps changing a StatefulSet and a
// DaemonSet.
type village struct {
	town
	ordered bool
}

func newVillage(t *testing.T, s *scheme.Scheme, seed uint64) *village {
	v := &village{town: town{t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: controltest.Now}, ordered: seed%2 == 0}
	policy := "Parallel"
	if v.ordered {
		policy = "OrderedReady"
	}
	v.store = controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: v1
kind: Namespace
metadata: {name: hello}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log, namespace: hello, generation: 1}
spec:
  revisionHistoryLimit: 2
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec: {containers: [{name: log, image: 'hello:0'}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: hello, generation: 1}
spec:
  replicas: 3
  podManagementPolicy: `+policy+`
  revisionHistoryLimit: 2
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: 'hello:0'}]}
`)...)
	opts := control.Options{Now: func() time.Time { return v.now }, Rand: v.rng}
	v.engine = control.NewEngine(v.store, control.NewCarrier(s), opts, StatefulSet{}, DaemonSet{}, lifecycle.Garbage{})
	return v
}

func (v *village) set() *appsv1.StatefulSet {
	s, ok := store.Get[*appsv1.StatefulSet](v.store.Snapshot(), "hello", "db")
	if !ok {
		v.t.Fatal("the StatefulSet is gone")
	}
	return s
}

func (v *village) daemon() *appsv1.DaemonSet {
	d, ok := store.Get[*appsv1.DaemonSet](v.store.Snapshot(), "hello", "log")
	if !ok {
		v.t.Fatal("the DaemonSet is gone")
	}
	return d
}

// change is the user's.
func (v *village) change() {
	s, d := v.set().DeepCopy(), v.daemon().DeepCopy()
	s.Generation++
	d.Generation++
	v.resized = true
	switch v.rng.IntN(6) {
	case 0:
		n := int32(v.rng.IntN(5))
		s.Spec.Replicas = &n
	case 1, 2:
		s.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("hello:%d", v.rng.IntN(4))
	case 3:
		partition, unavailable := int32(v.rng.IntN(4)), intstr.FromInt(1+v.rng.IntN(2))
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &partition, MaxUnavailable: &unavailable}
	case 4:
		d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("hello:%d", v.rng.IntN(4))
	case 5:
		one, none := intstr.FromInt(1), intstr.FromInt(0)
		d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &one, MaxSurge: &none}
		if v.rng.IntN(2) == 0 {
			d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &none, MaxSurge: &one}
		}
	}
	v.update("user", func(tx *store.Tx) error {
		if err := tx.Update(d); err != nil {
			return err
		}
		return tx.Update(s)
	})
}

// work is a node's: it moves one pod on by one step. A claim that nobody keeps any more goes.
func (v *village) work(calm bool) {
	for c := range store.List[*corev1.PersistentVolumeClaim](v.store.Snapshot()) {
		if c.DeletionTimestamp != nil {
			v.update("storage", func(tx *store.Tx) error { return tx.Delete(tx.Key(c)) })
			return
		}
	}
	v.town.work(calm)
	v.update("node", func(tx *store.Tx) error { // pods of a daemon are bound to their own node
		for p := range store.List[*corev1.Pod](tx.Snapshot) {
			if n := nodeFor(&corev1.Pod{Spec: corev1.PodSpec{Affinity: p.Spec.Affinity}}); n != "" && p.Spec.NodeName != "" && p.Spec.NodeName != n {
				c := p.DeepCopy()
				c.Spec.NodeName = n
				return tx.Update(c)
			}
		}
		return nil
	})
}

func (v *village) step() bool {
	before := v.store.Snapshot()
	busy := v.engine.Step(v.t.Context())
	v.checkSet(before, v.store.Snapshot())
	v.checkDaemon(before, v.store.Snapshot())
	return busy
}

func running(s *store.Snapshot, app string) (all []*corev1.Pod) {
	for p := range store.List[*corev1.Pod](s, store.InNamespace("hello"), store.Active) {
		if p.Labels["app"] == app {
			all = append(all, p)
		}
	}
	return all
}

func (v *village) checkSet(before, after *store.Snapshot) {
	set, _ := store.Get[*appsv1.StatefulSet](before, "hello", "db")
	partition := 0
	if u := set.Spec.UpdateStrategy.RollingUpdate; u.Partition != nil {
		partition = int(*u.Partition)
	}
	ready := func(s *store.Snapshot, n int) bool {
		p, ok := store.Get[*corev1.Pod](s, "hello", fmt.Sprintf("db-%d", n))
		if !ok || !active(p) {
			return false
		}
		_, ok = readySince(p)
		return ok
	}
	for _, p := range running(after, "db") {
		if _, was := before.Get(before.Key(p)); was {
			continue
		}
		n, _ := ordinal(set, p)
		for i := range n {
			if v.ordered && !ready(before, i) {
				v.t.Errorf("%s is made while db-%d is not ready", p.Name, i)
			}
		}
		if claim, ok := store.Get[*corev1.PersistentVolumeClaim](after, "hello", "data-"+p.Name); !ok || claim.DeletionTimestamp != nil {
			v.t.Errorf("%s is made and has no claim", p.Name)
		}
		if current := set.Status.CurrentRevision; n < partition && current != "" && revisionName(p) != current {
			v.t.Errorf("%s is below the partition %d, and is of %s, not of %s", p.Name, partition, revisionName(p), current)
		}
	}
	gone := 0
	for _, p := range running(before, "db") {
		n, _ := ordinal(set, p)
		now, ok := store.Get[*corev1.Pod](after, "hello", p.Name)
		if ok && now.DeletionTimestamp == nil {
			continue
		}
		if n >= int(*set.Spec.Replicas) {
			for _, o := range v.pods() {
				if m, ok := ordinal(set, o); ok && m > n && v.ordered {
					v.t.Errorf("%s goes before %s", p.Name, o.Name)
				}
			}
			continue
		}
		if n < partition {
			v.t.Errorf("%s goes, which is below the partition %d", p.Name, partition)
		}
		if ready(before, n) {
			gone++
		}
	}
	missing := 0
	for i := range int(*set.Spec.Replicas) {
		if !ready(before, i) {
			missing++
		}
	}
	if most := set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntValue(); gone > 0 && gone+missing > most {
		v.t.Errorf("%d pods go and %d are not ready, %d may be missing", gone, missing, most)
	}
}

func (v *village) checkDaemon(before, after *store.Snapshot) {
	d, _ := store.Get[*appsv1.DaemonSet](before, "hello", "log")
	u := d.Spec.UpdateStrategy.RollingUpdate
	serves := func(s *store.Snapshot) (n int) {
		for _, node := range []string{"n1", "n2"} {
			if slices.ContainsFunc(running(s, "log"), func(p *corev1.Pod) bool {
				_, ready := readySince(p)
				return ready && nodeFor(p) == node
			}) {
				n++
			}
		}
		return n
	}
	if had, has := serves(before), serves(after); has < had && 2-has > u.MaxUnavailable.IntValue() {
		v.t.Errorf("the daemon served %d nodes and serves %d now, of 2 with %s allowed to be without", had, has, u.MaxUnavailable)
	}
	for _, node := range []string{"n1", "n2"} {
		count := func(s *store.Snapshot) (n int) {
			for _, p := range running(s, "log") {
				if nodeFor(p) == node {
					n++
				}
			}
			return n
		}
		if is := count(after); is > 1+u.MaxSurge.IntValue() && is > count(before) {
			v.t.Errorf("%s has %d pods of the daemon", node, is)
		}
	}
}

func (v *village) settled() string {
	set, d := v.set(), v.daemon()
	for _, p := range v.pods() {
		if _, ok := readySince(p); !ok || p.DeletionTimestamp != nil {
			return p.Name + " is not ready, or goes"
		}
	}
	want := *set.Spec.Replicas
	if n := len(running(v.store.Snapshot(), "db")); n != int(want) {
		return fmt.Sprintf("%d pods of %d", n, want)
	}
	s := set.Status
	if s.UpdatedReplicas != want || s.AvailableReplicas != want || s.CurrentRevision != s.UpdateRevision || s.ObservedGeneration != set.Generation {
		return fmt.Sprintf("the StatefulSet says %+v", s)
	}
	if st := d.Status; st.UpdatedNumberScheduled != 2 || st.NumberAvailable != 2 || st.ObservedGeneration != d.Generation {
		return fmt.Sprintf("the DaemonSet says %+v", st)
	}
	return ""
}

func TestSetsKeepTheirOrderAndConverge(t *testing.T) {
	s := scheme.New(scheme.Options{})
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			v := newVillage(t, s, seed)
			for range 300 {
				v.now = v.now.Add(time.Duration(v.rng.IntN(3000)) * time.Millisecond)
				switch n := v.rng.IntN(20); {
				case n == 0:
					v.change()
				case n < 10:
					v.work(false)
				default:
					v.step()
				}
			}
			v.update("user", func(tx *store.Tx) error {
				set, none, one := v.set().DeepCopy(), int32(0), intstr.FromInt(1)
				set.Generation++
				set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &none, MaxUnavailable: &one}
				return tx.Update(set)
			})
			for i := 0; ; i++ {
				v.now = v.now.Add(time.Second)
				for v.step() {
				}
				if v.settled() == "" {
					break
				}
				if i > 5000 {
					t.Fatalf("it does not converge: %s", v.settled())
				}
				v.work(true)
			}
			if n := v.store.Snapshot().Len(revisionKind); n > 6 {
				t.Errorf("%d revisions are kept, at most 6 should be", n)
			}
			rev := v.store.Snapshot().Revision()
			v.now = v.now.Add(time.Minute)
			for v.step() {
			}
			if got := v.store.Snapshot().Revision(); got != rev {
				t.Errorf("the controllers still write after everything has settled: revision %d, then %d", rev, got)
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
