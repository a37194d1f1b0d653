package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pressure"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// gauge shows what it is told.
type gauge struct {
	mu        sync.Mutex
	levels    pressure.Levels
	usage     map[string]pressure.Usage // by pod
	reclaimed int
	garbage   int64 // bytes of images that nobody uses
}

func (g *gauge) Levels() (pressure.Levels, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.levels, nil
}

func (g *gauge) Usage(_ context.Context, p *corev1.Pod, _ bool) (pressure.Usage, map[string]pressure.Usage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.usage[p.Name], map[string]pressure.Usage{"a": g.usage[p.Name]}
}

func (g *gauge) Reclaim(context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reclaimed++
	l := g.levels[pressure.NodeFS]
	g.levels = pressure.Levels{pressure.NodeFS: {Available: l.Available + g.garbage, Capacity: l.Capacity}}
	g.garbage = 0
	return nil
}

func (g *gauge) set(l pressure.Levels) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.levels = l
}

// guarded plays a story on a node with a guard.
func guarded(t *testing.T, g *gauge, play func(n *node)) {
	thresholds, err := pressure.Defaults().Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.config = func(c *Config) {
			c.Guard = &Guard{Gauge: g, Thresholds: thresholds, Transition: 5 * time.Minute}
		}
		n.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceDefault}})
		_, stop := n.run()
		play(n)
		stop()
	})
}

// under are the conditions of the node that hold, save Ready.
func (n *node) under() string {
	node, _ := store.Get[*corev1.Node](n.store.Snapshot(), "", "here")
	var all []string
	for _, c := range node.Status.Conditions {
		if c.Status == corev1.ConditionTrue && c.Type != corev1.NodeReady {
			all = append(all, string(c.Type))
		}
	}
	return strings.Join(all, " ")
}

func TestAPodIsEvictedWhenMemoryIsShortAndTheOthersStay(t *testing.T) {
	const mi = 1 << 20
	g := &gauge{levels: pressure.Levels{pressure.Memory: {Available: 500 * mi, Capacity: 4000 * mi}}, usage: map[string]pressure.Usage{
		"greedy": {Memory: 700 * mi}, "modest": {Memory: 50 * mi},
	}}
	guarded(t, g, func(n *node) {
		n.pod("greedy", `{containers: [{name: a}]}`)
		n.pod("modest", `{containers: [{name: a, resources: {requests: {memory: 100Mi}}}]}`)
		n.expect(soon, "greedy", "Running ready a=running")
		g.set(pressure.Levels{pressure.Memory: {Available: 60 * mi, Capacity: 4000 * mi}})
		time.Sleep(guardInterval)
		synctest.Wait()
		if got := n.under(); got != "MemoryPressure" {
			t.Errorf("the node is under %q", got)
		}
		g.set(pressure.Levels{pressure.Memory: {Available: 700 * mi, Capacity: 4000 * mi}})
		n.expect(soon+time.Second, "greedy", "Failed a=Error(143)")
		n.expect(time.Minute, "modest", "Running ready a=running")
		p := n.get("greedy")
		want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. Container a was using 700Mi, request is 0, has larger consumption of memory. "
		if p.Status.Reason != "Evicted" || p.Status.Message != want {
			t.Errorf("%s: %q", p.Status.Reason, p.Status.Message)
		}
		if !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.DisruptionTarget && c.Reason == corev1.PodReasonTerminationByKubelet
		}) {
			t.Errorf("its conditions are %v", p.Status.Conditions)
		}
		if got := n.events("greedy"); !strings.Contains(got, "Warning Evicted 1x: The node was low") {
			t.Error(got)
		}
		if got := n.under(); got != "MemoryPressure" {
			t.Errorf("a minute later the node is under %q", got)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := n.under(); got != "" {
			t.Errorf("in the end the node is under %q", got)
		}
		if got := n.events("here"); !strings.Contains(got, "NodeHasInsufficientMemory") || !strings.Contains(got, "NodeHasSufficientMemory") {
			t.Error(got)
		}
	})
}

func TestImagesAreCollectedBeforeAPodHasToGoForDisk(t *testing.T) {
	g := &gauge{levels: pressure.Levels{pressure.NodeFS: {Available: 500, Capacity: 1000}}, garbage: 200, usage: map[string]pressure.Usage{"web": {Disk: 100}}}
	guarded(t, g, func(n *node) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		g.set(pressure.Levels{pressure.NodeFS: {Available: 50, Capacity: 1000}})
		n.expect(2*guardInterval, "web", "Running ready a=running")
		if g.reclaimed != 1 || n.under() != "DiskPressure" {
			t.Errorf("collected %d times, under %q", g.reclaimed, n.under())
		}
		g.set(pressure.Levels{pressure.NodeFS: {Available: 50, Capacity: 1000}})
		n.expect(2*guardInterval, "web", "Failed a=Error(143)")
		g.set(pressure.Levels{pressure.NodeFS: {Available: 500, Capacity: 1000}})
	})
}
