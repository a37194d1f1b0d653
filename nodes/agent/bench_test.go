package agent

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// BenchmarkPods has 50 pods come and go through the fake runtime: the agent's own share.
func BenchmarkPods(b *testing.B) {
	n := newNode(b)
	_, stop := n.run()
	defer stop()
	const pods = 50
	begun, round := cpu(), 0
	for b.Loop() {
		round++
		for i := range pods {
			n.pod(fmt.Sprintf("web-%d-%d", round, i), `{containers: [{name: a}], volumes: [{name: e, emptyDir: {}}]}`)
		}
		n.await(func(s *store.Snapshot) bool {
			up := 0
			for p := range store.List[*corev1.Pod](s, store.OnNode("here")) {
				if ready(&p.Status) {
					up++
				}
			}
			return up == pods
		})
		for i := range pods {
			n.delete(fmt.Sprintf("web-%d-%d", round, i), 30)
		}
		n.await(func(s *store.Snapshot) bool {
			for range store.List[*corev1.Pod](s, store.OnNode("here")) {
				return false
			}
			return true
		})
	}
	b.ReportMetric(float64((cpu()-begun).Microseconds())/1000/float64(b.N*pods), "cpu-ms/pod")
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// await waits until the store is as it should be.
func (n *node) await(is func(*store.Snapshot) bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for s := n.store.Snapshot(); !is(s); s = n.store.Snapshot() {
		b, err := n.store.Since(s.Revision(), store.Query{})
		if err != nil {
			n.t.Fatal(err)
		}
		if b.More == nil {
			continue
		}
		select {
		case <-ctx.Done():
			n.t.Fatal("it takes too long")
		case <-b.More:
		}
	}
}

// BenchmarkOne is how long one pod takes from its binding to its readiness, without what the runtime takes.
func BenchmarkOne(b *testing.B) {
	n := newNode(b)
	_, stop := n.run()
	defer stop()
	round := 0
	for b.Loop() {
		round++
		name := fmt.Sprint("web-", round)
		n.pod(name, `{containers: [{name: a, readinessProbe: {exec: {command: [/prog, exit, "0"]}}}]}`)
		n.await(func(*store.Snapshot) bool { return show(n.get(name)) == "Running ready a=running" })
		b.StopTimer()
		n.drop(name)
		b.StartTimer()
	}
}
