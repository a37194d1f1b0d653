package bpf_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// tenThousand are services with three endpoints each.
func tenThousand() (objects []store.Object) {
	for i := range 10_000 {
		name := fmt.Sprint("web", i)
		objects = append(objects, newService(name, fmt.Sprintf("10.96.%d.%d", 1+i/250, 1+i%250)),
			newSlice(name, "10.244.0.5", "10.244.0.6", fmt.Sprintf("10.244.%d.%d", 1+i/250, 1+i%250)))
	}
	return objects
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// BenchmarkConnect compares a connect through a cluster address, with 10,000 services loaded, with a direct one: from the
// node to itself, and from pod to pod. They are measured in turns of 100.
func BenchmarkConnect(b *testing.B) {
	c, s := newCluster(b), newStore(b)
	client, _ := c.pod(b, "client")
	server, addr := c.pod(b, "server")
	set(b, s, tenThousand()...)
	r := set(b, s, newService("node", "10.96.0.10"), newSlice("node", "127.0.0.1"), newService("pod", "10.96.0.11"), newSlice("pod", addr))
	l, _ := c.follow(b, s)
	if err := l.Synced(b.Context(), r); err != nil {
		b.Fatal(err)
	}
	c.serveTCP(b, "127.0.0.1:8080")
	server.Do(b, func() error { return serve(b, "tcp4", addr+":8080", "") })
	b.Run("node", func(b *testing.B) {
		c.ns.Do(b, func() error { return compare(b, "127.0.0.1:8080", "10.96.0.10:80") })
	})
	b.Run("pods", func(b *testing.B) {
		client.Do(b, func() error { return compare(b, addr+":8080", "10.96.0.11:80") })
	})
}

func compare(b *testing.B, direct, service string) error {
	var ds, ss, ratios []time.Duration
	for b.Loop() {
		d, err := connects(100, direct)
		if err != nil {
			return err
		}
		s, err := connects(100, service)
		if err != nil {
			return err
		}
		ds, ss, ratios = append(ds, d), append(ss, s), append(ratios, 1000*s/d)
	}
	b.ReportMetric(float64(median(ds).Nanoseconds())/1e3, "direct-µs")
	b.ReportMetric(float64(median(ss).Nanoseconds())/1e3, "service-µs")
	b.ReportMetric(float64(median(ratios))/1000, "service/direct")
	return nil
}

// connects is the median time of a connect.
func connects(times int, addr string) (time.Duration, error) {
	var took []time.Duration
	peer := to(unix.AF_INET, addr)
	for range times {
		s, err := newSock(unix.AF_INET, unix.SOCK_STREAM)
		if err != nil {
			return 0, err
		}
		unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		start := time.Now()
		err = unix.Connect(int(s), peer)
		took = append(took, time.Since(start))
		s.Close()
		if err != nil {
			return 0, err
		}
	}
	return median(took), nil
}

// BenchmarkStoreToKernel changes an endpoint of one service among 10,000, and waits until the kernel leads to it.
func BenchmarkStoreToKernel(b *testing.B) {
	n, s := newNode(b), newStore(b)
	l, _ := n.follow(b, s)
	if err := l.Synced(b.Context(), set(b, s, tenThousand()...)); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		slice := newSlice("web77", "10.244.0.5", "10.244.0.6", fmt.Sprintf("10.244.9.%d", 1+i%250))
		start := time.Now()
		r := set(b, s, slice)
		if err := l.Synced(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	m := median(took)
	b.ReportMetric(float64(m.Nanoseconds())/1e3, "median-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// BenchmarkLoad brings 10,000 services into an empty kernel, then finds them there again.
func BenchmarkLoad(b *testing.B) {
	n, s := newNode(b), newStore(b)
	r := set(b, s, tenThousand()...)
	var again []time.Duration
	for b.Loop() {
		l, stop := n.follow(b, s)
		if err := l.Synced(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		stop()
		start := time.Now()
		l, stop = n.follow(b, s)
		if err := l.Synced(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		again = append(again, time.Since(start))
		stop()
		n.Close()
		if err := bpf.Remove(n.cfg); err != nil {
			b.Fatal(err)
		}
		n.open(b)
	}
	b.ReportMetric(float64(median(again).Microseconds())/1e3, "restart-ms")
}

// BenchmarkOpen opens what is pinned already, as a restart does.
func BenchmarkOpen(b *testing.B) {
	n := newNode(b)
	for b.Loop() {
		n.Close()
		d, err := bpf.Open(n.cfg)
		if err != nil {
			b.Fatal(err)
		}
		n.Dataplane = d
	}
}

func BenchmarkGrace(b *testing.B) {
	n := newNode(b)
	for b.Loop() {
		if err := n.Grace(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
