package schedule_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule/plugin"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func amounts(rng *rand.Rand, cpu, memory int64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(rng.Int64N(cpu), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(rng.Int64N(memory)<<20, resource.BinarySI),
	}
}

// act does one thing to the cluster: pods and nodes come, go, change and end.
func act(tx *store.Tx, s *scheme.Scheme, rng *rand.Rand, n int) error {
	pods, nodes := all[*corev1.Pod](tx.Snapshot), all[*corev1.Node](tx.Snapshot)
	switch i := rng.IntN(10); {
	case i < 5:
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", n), Namespace: "default", UID: control.UID(rng)}}
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: amounts(rng, 1500, 800)}}}
		s.Default(p)
		return tx.Create(p)
	case i == 5 && len(nodes) < 5:
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", n), UID: control.UID(rng)}}
		node.Status.Allocatable = amounts(rng, 4000, 4000)
		node.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(rng.Int64N(8), resource.DecimalSI)
		return tx.Create(node)
	case i == 6 && len(nodes) > 0:
		node := nodes[rng.IntN(len(nodes))].DeepCopy()
		node.Generation++
		node.Spec.Unschedulable = !node.Spec.Unschedulable
		return tx.Update(node)
	case i == 7 && len(nodes) > 0 && rng.IntN(5) == 0:
		return tx.Delete(tx.Key(nodes[rng.IntN(len(nodes))]))
	case i == 8 && len(pods) > 0:
		p := pods[rng.IntN(len(pods))].DeepCopy()
		if p.Spec.NodeName != "" {
			p.Status.Phase = corev1.PodSucceeded
		}
		return tx.Update(p)
	case i == 9 && len(pods) > 0:
		return tx.Delete(tx.Key(pods[rng.IntN(len(pods))]))
	}
	return nil
}

func all[T store.Object](s *store.Snapshot) (out []T) {
	for o := range store.List[T](s) {
		out = append(out, o)
	}
	return out
}

// overcommitted names what is requested beyond what a node has.
func overcommitted(s *store.Snapshot) string {
	for _, n := range schedule.NewView(s).Nodes() {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			if n.Requested[name] > n.Allocatable[name] {
				return fmt.Sprintf("%s: %d of %d %s", n.Node.Name, n.Requested[name], n.Allocatable[name], name)
			}
		}
		if int64(len(n.Pods)) > n.Allocatable[corev1.ResourcePods] {
			return fmt.Sprintf("%s: %d of %d pods", n.Node.Name, len(n.Pods), n.Allocatable[corev1.ResourcePods])
		}
	}
	return ""
}

// run plays one seed and returns where each pod went.
func run(t *testing.T, seed uint64) map[string]string {
	s := scheme.New(scheme.Options{})
	rng := rand.New(rand.NewPCG(seed, 0))
	st := controltest.Store(t, s, nil, controltest.Objects(t, s, "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}")...)
	sched := schedule.New(st, control.NewCarrier(s), plugin.Default(), control.Options{Now: func() time.Time { return controltest.Now }, Rand: rand.New(rand.NewPCG(seed, 1))})
	for n := range 300 {
		if _, err := st.Update(t.Context(), "test", func(tx *store.Tx) error { return act(tx, s, rng, n) }); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(3) > 0 {
			continue
		}
		for sched.Step(t.Context()) {
		}
		now := st.Snapshot()
		if over := overcommitted(now); over != "" {
			t.Fatalf("seed %d, step %d: overcommitted: %s", seed, n, over)
		}
		view := schedule.NewView(now)
		for _, p := range all[*corev1.Pod](now) {
			if p.Spec.NodeName == "" {
				if d := schedule.Decide(view, p, plugin.Default(), rng); d.Node != "" {
					t.Fatalf("seed %d, step %d: %s waits although %s has room", seed, n, p.Name, d.Node)
				}
			}
		}
	}
	where := map[string]string{}
	for _, p := range all[*corev1.Pod](st.Snapshot()) {
		where[p.Name] = p.Spec.NodeName
	}
	return where
}

func TestNothingIsOvercommittedNobodyWaitsInVainAndASeedReplays(t *testing.T) {
	for seed := range uint64(6) {
		if first, second := run(t, seed), run(t, seed); !reflect.DeepEqual(first, second) {
			t.Fatalf("seed %d went differently the second time", seed)
		}
	}
}

func TestAViewKeptUpToDateIsTheViewOfTheSnapshot(t *testing.T) {
	s := scheme.New(scheme.Options{})
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 0))
		st := controltest.Store(t, s, nil, controltest.Objects(t, s, "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}")...)
		v := schedule.NewView(st.Snapshot())
		from := st.Snapshot().Revision()
		for n := range 300 {
			if _, err := st.Update(t.Context(), "test", func(tx *store.Tx) error {
				if pods, nodes := all[*corev1.Pod](tx.Snapshot), all[*corev1.Node](tx.Snapshot); n%4 == 3 && len(pods) > 0 && len(nodes) > 0 {
					p := pods[rng.IntN(len(pods))].DeepCopy()
					if p.Spec.NodeName == "" {
						p.Spec.NodeName = nodes[rng.IntN(len(nodes))].Name
					}
					return tx.Update(p)
				}
				return act(tx, s, rng, n)
			}); err != nil {
				t.Fatal(err)
			}
			b, err := st.Since(from, store.Query{})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range b.Deltas {
				for _, c := range d.Changes {
					v = v.After(c)
				}
			}
			from = b.Upto
			if got, want := describe(v), describe(schedule.NewView(st.Snapshot())); got != want {
				t.Fatalf("seed %d, step %d: kept up to date:\n%s\nnew:\n%s", seed, n, got, want)
			}
		}
	}
}

// describe prints a view so that the order of pods on a node does not count.
func describe(v *schedule.View) string {
	text := ""
	for _, n := range v.Nodes() {
		pods := map[string]bool{}
		for _, p := range n.Pods {
			pods[p.Name] = true
		}
		text += fmt.Sprintf("%s %v: %v, cpu %d memory %d\n", n.Node.Name, n.Node.Spec.Unschedulable, pods, n.Requested[corev1.ResourceCPU], n.Requested[corev1.ResourceMemory])
	}
	return text
}
