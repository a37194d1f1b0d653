package disk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// floor measures how many writes of 2 KB a second the disk makes durable one by one, in a file that is there already.
func floor(b *testing.B, dir string) float64 {
	b.Helper()
	const space = 8 << 20
	f, err := os.Create(filepath.Join(dir, "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, space)); err != nil {
		b.Fatal(err)
	}
	a := &revisionFile{f: f}
	block := make([]byte, 2048)
	n := 0
	start := time.Now()
	for ; time.Since(start) < time.Second/2; n++ {
		if _, err := f.WriteAt(block, int64(n)*int64(len(block))%space); err != nil {
			b.Fatal(err)
		}
		a.dirty.Store(true)
		if err := a.sync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}

// dirtied is how many bytes this process has made the kernel write to disk, its mapped files included.
func dirtied(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			bytes, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return bytes
		}
	}
	b.Fatal("/proc/self/io has no write_bytes")
	return 0
}

// pod is an object of 1.5 KB with number i.
func pod(i int, text string) *corev1.Pod {
	labels := map[string]string{"app.kubernetes.io/name": fmt.Sprint("web-", i%100), "pod-template-hash": "7d9fabcde"}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprint("ns-", i%20), Name: fmt.Sprint("web-7d9fabcde-", i), UID: "8c2d4a3e-0000-4000-8000-000000000000", Labels: labels,
			Annotations:     map[string]string{"mainstay.dev/text": text[i*7919%(len(text)-600):][:600]},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7d9fabcde", UID: "8c2d4a3e-0000-4000-8000-000000000001"}},
		},
		Spec: corev1.PodSpec{NodeName: fmt.Sprint("node-", i%50), Containers: []corev1.Container{{
			Name: "web", Image: "registry.example/hello/web:v1", Args: []string{"--listen", ":8080"},
			Env: []corev1.EnvVar{{Name: "GREETING", Value: "hello"}}, Ports: []corev1.ContainerPort{{ContainerPort: 8080, Protocol: "TCP"}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.42.0.7"},
	}
	for _, kind := range []string{"PodScheduled", "Initialized", "ContainersReady", "Ready"} {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(kind), Status: "True", LastTransitionTime: metav1.Unix(1e9, 0)})
	}
	for len(p.Status.ContainerStatuses) < 2 {
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: "web", Ready: true, Image: "registry.example/hello/web:v1", ImageID: "registry.example/hello/web@sha256:0123456789abcdef0123456789abcdef",
			ContainerID: "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		})
	}
	return p
}

// noise is what parts of objects are cut from.
func noise(n int) string {
	r := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = ' ' + byte(r.IntN(95))
	}
	return string(b)
}

// benchStore is a store on disk with n objects, and Run beside it.
func benchStore[T store.Object](b *testing.B, dir string, n int, object func(int) T) *store.Memory {
	b.Helper()
	back := open(b, dir, Options{})
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = back.Run(ctx) })
	s, err := store.Open(back, storetest.Kinds(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	if s.Snapshot().Revision() > 0 {
		return s
	}
	for from := 0; from < n; from += 2000 {
		_, err := s.Update(b.Context(), "", func(tx *store.Tx) error {
			for i := from; i < min(n, from+2000); i++ {
				if err := tx.Create(object(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkUpdate replaces objects of 1.5 KB, from one writer and from 64, and with 64 in each transaction.
func BenchmarkUpdate(b *testing.B) {
	const objects = 20_000
	dir, text := b.TempDir(), noise(1<<20)
	object := func(i int) *corev1.ConfigMap {
		at, i := i*7919%(len(text)-1400), i%objects
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("ns-", i%20), Name: fmt.Sprint("config-", i)},
			Data:       map[string]string{"text": text[at : at+1400]},
		}
	}
	for _, c := range []struct{ writers, each int }{{1, 1}, {64, 1}, {1, 64}} {
		b.Run(fmt.Sprintf("writers=%d/objects=%d", c.writers, c.each), func(b *testing.B) {
			s := benchStore(b, filepath.Join(dir, fmt.Sprint(c.writers, "-", c.each)), objects, object)
			all := make([]*corev1.ConfigMap, objects)
			for i := range all {
				all[i] = object(i)
			}
			least := floor(b, dir)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			spent, wrote := storetest.CPU(), dirtied(b)
			for range c.writers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						_, err := s.Update(b.Context(), "", func(tx *store.Tx) error {
							for i := range c.each {
								o := *all[(int(n)*c.each+i)*7919%objects]
								if err := tx.Update(&o); err != nil {
									return err
								}
							}
							return nil
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			done := float64(b.N * c.each)
			b.ReportMetric(done/b.Elapsed().Seconds(), "objects/s")
			b.ReportMetric(float64((storetest.CPU()-spent).Microseconds())/done, "cpu-us/object")
			b.ReportMetric(float64(dirtied(b)-wrote)/(done*1500), "disk-bytes/byte")
			b.ReportMetric(least, "floor/s")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/least, "of-floor")
		})
	}
}

// BenchmarkReopen opens a store of 50,000 pods of 1.5 KB, decodes them and builds its indexes.
func BenchmarkReopen(b *testing.B) {
	const pods = 50_000
	dir, text := b.TempDir(), noise(1<<20)
	b.Run("write", func(b *testing.B) { benchStore(b, dir, pods, func(i int) *corev1.Pod { return pod(i, text) }) })
	b.Run("reopen", func(b *testing.B) {
		for b.Loop() {
			back := open(b, dir, Options{})
			s, err := store.Open(back, storetest.Kinds(), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			if n := s.Snapshot().Len(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind()); n != pods {
				b.Fatal(n)
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
