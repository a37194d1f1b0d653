package store_test

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

func volatile(testing.TB) func() store.Backend {
	v := store.NewVolatile(storetest.Kinds())
	return func() store.Backend { return v }
}

func TestVolatileIsABackend(t *testing.T) { storetest.Backend(t, volatile) }

func TestMemoryIsAStore(t *testing.T) { storetest.Store(t, volatile) }
