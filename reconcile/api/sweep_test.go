package api

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/api/registry"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestOldEventsAreSweptOutByThemselves(t *testing.T) {
	kinds := scheme.New(scheme.Options{})
	synctest.Test(t, func(t *testing.T) {
		memory, err := store.Open(store.NewVolatile(kinds.Stored), kinds.Stored, store.Options{Guard: true})
		if err != nil {
			t.Fatal(err)
		}
		// The event is written from inside, as the controllers do: no request knows of it.
		if _, err := memory.Update(t.Context(), "it happens", func(tx *store.Tx) error {
			return tx.Create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "e", CreationTimestamp: metav1.Now()}})
		}); err != nil {
			t.Fatal(err)
		}
		s := &Server{
			Config:   Config{Store: memory, Now: time.Now, Log: slog.New(slog.DiscardHandler)},
			registry: registry.New(registry.Options{Scheme: kinds, Store: memory, Now: time.Now}),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.sweep(ctx) }()
		kept := func() int { return memory.Snapshot().Len(corev1.SchemeGroupVersion.WithKind("Event").GroupKind()) }
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if kept() != 1 {
			t.Error("it is gone after 59 minutes")
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if kept() != 0 {
			t.Error("it is still there after 62 minutes")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
}
