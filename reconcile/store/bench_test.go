package store_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// nowhere is a Backend that keeps nothing, and costs nothing.
type nowhere struct{}

func (nowhere) Append(context.Context, store.Revision, []store.Delta) error { return nil }
func (nowhere) Record(string) ([]byte, error)                               { return nil, nil }

func (nowhere) RecordsUnder(string) iter.Seq2[store.Record, error] {
	return func(func(store.Record, error) bool) {}
}

func (nowhere) Load() (store.Revision, iter.Seq2[store.Object, error]) {
	return 0, func(func(store.Object, error) bool) {}
}
func (nowhere) Close() error { return nil }

func memory(b *testing.B, objects int) *store.Memory {
	s, err := store.Open(nowhere{}, storetest.Kinds(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	_, err = s.Update(b.Context(), "", func(tx *store.Tx) error {
		for i := range objects {
			if err := tx.Create(configMap(i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

var text = strings.Repeat("greeting: hello\n", 85)

func configMap(i int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("ns-", i%20), Name: fmt.Sprint("configmap-", i)},
		Data:       map[string]string{"text": text},
	}
}

func BenchmarkUpdate(b *testing.B) {
	const objects = 10_000
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := memory(b, objects)
			all := make([]*corev1.ConfigMap, objects)
			for i := range all {
				all[i] = configMap(i)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			spent := storetest.CPU()
			for range writers {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						o := *all[n%objects]
						if _, err := s.Update(b.Context(), "", func(tx *store.Tx) error { return tx.Update(&o) }); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			b.ReportMetric(float64((storetest.CPU()-spent).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

func BenchmarkSnapshotList(b *testing.B) {
	const objects = 10_000
	s := memory(b, objects)
	for b.Loop() {
		n := 0
		for range store.List[*corev1.ConfigMap](s.Snapshot()) {
			n++
		}
		if n != objects {
			b.Fatal(n)
		}
	}
}

// BenchmarkFanOut is one change, until each of 2,000 watchers has it.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 2000
	s := memory(b, 100)
	ctx, cancel := context.WithCancel(b.Context())
	q := store.Select(corev1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind())
	from := s.Snapshot().Revision()
	var all, heard sync.WaitGroup
	for range watchers {
		all.Go(func() {
			for _, err := range store.Watch(ctx, s, from, q) {
				if err != nil {
					return
				}
				heard.Done()
			}
		})
	}
	for b.Loop() {
		heard.Add(watchers)
		if _, err := s.Update(ctx, "", func(tx *store.Tx) error { return tx.Update(configMap(1)) }); err != nil {
			b.Fatal(err)
		}
		heard.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/watchers, "ns/watcher")
	cancel()
	all.Wait()
}
