package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

func place(t testing.TB) func() store.Backend {
	dir := t.TempDir()
	return func() store.Backend { return open(t, dir, Options{}) }
}

func open(t testing.TB, dir string, opts Options) *Backend {
	t.Helper()
	b, err := Open(dir, newCodec(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func shut(t testing.TB, b *Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error("close:", err)
	}
}

// fill appends n random groups, and moves m on.
func write(t testing.TB, b *Backend, m *storetest.Model, n int, s storetest.Sizes) {
	t.Helper()
	r := storetest.Rand(t)
	for range n {
		ds := m.Group(r, s)
		if err := b.Append(t.Context(), m.Revision, ds); err != nil {
			t.Fatal(err)
		}
		apply(t, m, ds)
	}
}

func apply(t testing.TB, m *storetest.Model, ds []store.Delta) {
	t.Helper()
	for _, d := range ds {
		if err := m.Apply(d); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t testing.TB, b *Backend, m *storetest.Model) {
	t.Helper()
	got, err := storetest.Loaded(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := m.DiffModel(got); diff != "" {
		t.Fatal(diff)
	}
}

var small = storetest.Sizes{Deltas: 4, Changes: 8, Bytes: 3000, Keys: 200}

func TestItIsABackend(t *testing.T) { storetest.Backend(t, place) }

func TestAStoreOnIt(t *testing.T) { storetest.Store(t, place) }

func TestASecondDaemonIsRefusedByThePidOfTheFirst(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	_, err := Open(dir, newCodec(), Options{})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Error(err)
	}
	shut(t, b)
	shut(t, open(t, dir, Options{}))
}

func TestWhoHasTheStoreOpenIsKnown(t *testing.T) {
	dir := t.TempDir()
	if pid, ok := Holder(dir); ok {
		t.Error("nobody has, but it is said of", pid)
	}
	b := open(t, dir, Options{})
	if pid, ok := Holder(dir); !ok || pid != os.Getpid() {
		t.Errorf("got %d, %v", pid, ok)
	}
	shut(t, b)
	if pid, ok := Holder(dir); ok { // this process is there, but has closed it
		t.Error("it is closed, but said to be open by", pid)
	}
}

func TestTheFormatIsToldWhileAnotherProcessWrites(t *testing.T) {
	dir := t.TempDir()
	if err := Compatible(dir); err != nil {
		t.Error("there is no store yet:", err)
	}
	b := open(t, dir, Options{})
	if err := Compatible(dir); err != nil {
		t.Error(err)
	}
	shut(t, b)
	slot := encodeSlot(99, 7)
	slot[11] = format + 1
	if err := os.WriteFile(filepath.Join(dir, "revision"), seal(nil, slot[:slotSize-4]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Compatible(dir); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format 2") {
		t.Error(err)
	}
}

func TestANewerFormatIsRefusedByName(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, dir string){
		"the revision file": func(t *testing.T, dir string) {
			slot := encodeSlot(99, 7)
			slot[11] = format + 1
			if err := os.WriteFile(filepath.Join(dir, "revision"), seal(nil, slot[:slotSize-4]), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"the state": func(t *testing.T, dir string) {
			b := open(t, dir, Options{})
			v := b.state.append(nil)
			v[0] = format + 1
			if err := b.putInParts([]record{{[]byte(stateAt), seal([]byte(stateAt), v)}}); err != nil {
				t.Fatal(err)
			}
			shut(t, b)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			shut(t, open(t, dir, Options{}))
			spoil(t, dir)
			for _, opts := range []Options{{}, {AcceptLoss: true}} {
				if _, err := Open(dir, newCodec(), opts); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format 2") {
					t.Error(err)
				}
			}
		})
	}
}

func TestACommitThatFailsStopsWritesAndReadingGoesOn(t *testing.T) {
	broken := errors.New("input/output error")
	for what, commit := range map[string]func(b *Backend) func(*badger.Txn, func(error)){
		"it fails": func(*Backend) func(*badger.Txn, func(error)) {
			return func(txn *badger.Txn, done func(error)) { txn.Discard(); done(broken) }
		},
		"it hangs": func(*Backend) func(*badger.Txn, func(error)) {
			return func(txn *badger.Txn, done func(error)) { txn.Discard() }
		},
		"its sync fails, which Badger only logs": func(b *Backend) func(*badger.Txn, func(error)) {
			return func(txn *badger.Txn, done func(error)) {
				b.db.Opts().Logger.Errorf("Error while curlf sync: %v\n", broken)
				txn.CommitWith(done)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir, m := t.TempDir(), storetest.NewModel()
			b := open(t, dir, Options{Deadline: 200 * time.Millisecond})
			write(t, b, m, 3, small)
			b.commit = commit(b)
			ds := m.Group(storetest.Rand(t), small)
			first := b.Append(t.Context(), m.Revision, ds)
			if !errors.Is(first, broken) && !errors.Is(first, errHung) && !strings.Contains(fmt.Sprint(first), broken.Error()) {
				t.Error("the first append:", first)
			}
			b.commit = (*badger.Txn).CommitWith
			if second := b.Append(t.Context(), m.Revision, ds); fmt.Sprint(second) != fmt.Sprint(first) {
				t.Error("the second append:", second)
			}
			if !b.hung.Load() {
				shut(t, b)
				b := open(t, dir, Options{})
				write(t, b, storetestAt(t, b, m, ds), 1, small)
				shut(t, b)
				return
			}
			if err := b.Close(); !errors.Is(err, errHung) {
				t.Error("close:", err)
			}
			abandon(t, b)
		})
	}
}

// storetestAt is m, or m after ds, whichever b holds: after a failure it is not known.
func storetestAt(t *testing.T, b *Backend, m *storetest.Model, ds []store.Delta) *storetest.Model {
	t.Helper()
	if b.state.revision != m.Revision {
		apply(t, m, ds)
	}
	compare(t, b, m)
	return m
}

// abandon gives back what a Backend keeps that believes that Badger hangs.
func abandon(t *testing.T, b *Backend) {
	t.Helper()
	b.hung.Store(false)
	if err := b.release(); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeKeptChangesNothing(t *testing.T) {
	b, m := open(t, t.TempDir(), Options{}), storetest.NewModel()
	defer shut(t, b)
	write(t, b, m, 3, small)
	huge := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "huge"}, Data: map[string]string{"a": strings.Repeat("a", largest)}}
	unknown := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "not protobuf"}}}
	for _, o := range []store.Object{huge, unknown} {
		d := store.Delta{Revision: m.Revision + 1, Changes: []store.Change{{Revision: m.Revision + 1, New: o}}}
		if err := b.Append(t.Context(), m.Revision, []store.Delta{d}); !errors.Is(err, store.ErrUnstorable) {
			t.Errorf("%s: %v", o.GetName(), err)
		}
	}
	write(t, b, m, 3, small)
	compare(t, b, m)
}

func TestRunningCollectsValuesAndEndsWithItsContext(t *testing.T) {
	b, m := open(t, t.TempDir(), Options{}), storetest.NewModel()
	defer shut(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	r := storetest.Rand(t)
	removed := func() bool { // the first files are gone
		names, err := filepath.Glob(filepath.Join(b.folder(), "*.vlog"))
		return err == nil && len(names) > 0 && !strings.HasSuffix(names[0], "000001.vlog")
	}
	for start := time.Now(); !removed(); {
		if time.Since(start) > time.Minute {
			t.Fatal("nothing was collected in a minute")
		}
		ds := m.Group(r, storetest.Sizes{Deltas: 1, Changes: 200, Bytes: 6000, Keys: 100})
		if err := b.Append(ctx, m.Revision, ds); err != nil {
			t.Fatal(err)
		}
		apply(t, m, ds)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
	compare(t, b, m)
}
