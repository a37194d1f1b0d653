package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/history"
	"github.com/mainstay-gitops/mainstay/reconcile/patch"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// bench is a Delivery that runs, with sources that are plain folders.
type bench struct {
	t      *testing.T
	scheme *scheme.Scheme
	store  *store.Memory
	d      *Delivery
	dirs   map[string]string
}

func newBench(t *testing.T, sources ...string) *bench {
	s := scheme.New(scheme.Options{})
	p, err := patch.New(s)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, scheme: s, dirs: map[string]string{}}
	text := "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n"
	for _, name := range sources {
		b.dirs[name] = t.TempDir()
		text += fmt.Sprintf("---\napiVersion: mainstay.dev/v1alpha1\nkind: GitSource\nmetadata: {name: %s, namespace: default}\nspec: {url: 'file://%s', interval: 1h}\n", name, b.dirs[name])
	}
	b.store = controltest.Store(t, s, []store.Index{apply.Index()}, controltest.Objects(t, s, text)...)
	hosted, err := repo.OpenHosted(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.d = New(Config{Store: b.store, Scheme: s, Applier: apply.New(s, p, nil), Carrier: control.NewCarrier(s), Hosted: hosted, Mirrors: t.TempDir()})
	return b
}

// run starts the Delivery, which ends with the test.
func (b *bench) run() *bench {
	done := make(chan error)
	ctx, cancel := testContext(b.t)
	go func() { done <- b.d.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		<-done
	})
	return b
}

func (b *bench) write(source, path, text string) {
	b.t.Helper()
	file := filepath.Join(b.dirs[source], path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) source(name string) *v1alpha1.GitSource {
	g, ok := store.Get[*v1alpha1.GitSource](b.store.Snapshot(), "default", name)
	if !ok {
		b.t.Fatalf("source %s is gone", name)
	}
	return g
}

// until waits for something to become so.
func (b *bench) until(what string, is func() bool) {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	for !is() {
		batch, err := b.store.Since(b.store.Snapshot().Revision(), store.Query{})
		if err != nil {
			b.t.Fatal(err)
		}
		if is() {
			return
		}
		select {
		case <-batch.More:
		case <-deadline:
			for name := range b.dirs {
				b.t.Logf("%s: %+v", name, b.source(name).Status)
			}
			b.t.Fatalf("it never happened that %s", what)
		}
	}
}

func (b *bench) data(name string) string {
	c, ok := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", name)
	if !ok {
		return "gone"
	}
	return c.Data["key"]
}

func (b *bench) condition(source, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(b.source(source).Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func (b *bench) byHand(fn func(*store.Tx) error) {
	b.t.Helper()
	if _, err := b.store.Update(b.t.Context(), "kubectl", fn); err != nil {
		b.t.Fatal(err)
	}
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  key: %s\n", name, value)
}

func TestASourceIsAppliedAndSaysSo(t *testing.T) {
	b := newBench(t, "a")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.run()
	b.until("the source is ready", func() bool { return b.condition("a", condReady).Status == metav1.ConditionTrue })
	g := b.source("a")
	if b.data("one") != "v1" || g.Status.Objects != 1 || g.Status.Applied == nil || g.Status.Healthy == nil || g.Status.ObservedGeneration != g.Generation {
		t.Errorf("%s %+v", b.data("one"), g.Status)
	}
	b.write("a", "one.yaml", configMap("one", "v2"))
	b.write("a", "two.yaml", configMap("two", "v1"))
	b.d.Look("default", "a")
	b.until("the change is applied", func() bool { return b.data("one") == "v2" && b.data("two") == "v1" })
	b.until("the source counts its objects", func() bool { return b.source("a").Status.Objects == 2 })
}

func TestWhatIsChangedByHandIsPutBack(t *testing.T) {
	b := newBench(t, "a")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.run()
	b.until("it is applied", func() bool { return b.data("one") == "v1" })
	b.byHand(func(tx *store.Tx) error {
		live, _ := store.Get[*corev1.ConfigMap](tx.Snapshot, "default", "one")
		next := live.DeepCopy()
		next.Data["key"], next.Data["other"] = "by hand", "stays: Git does not own it"
		return tx.Update(next)
	})
	b.until("it is put back", func() bool { return b.data("one") == "v1" })
	if c, _ := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "one"); c.Data["other"] == "" {
		t.Error("a field that Git does not own was taken away")
	}
	told := false
	for e := range store.List[*corev1.Event](b.store.Snapshot()) {
		told = told || e.Reason == "DriftCorrected" && strings.Contains(e.Message, "one.yaml:1") && strings.Contains(e.Message, "data.key: by hand -> v1")
	}
	if !told {
		t.Error("no event tells what was put back")
	}
	b.byHand(func(tx *store.Tx) error {
		return tx.Delete(store.Key{Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind(), Namespace: "default", Name: "one"})
	})
	b.until("it is made anew", func() bool { return b.data("one") == "v1" })
}

func TestASuspendedSourceIsLeftAloneUntilItIsResumed(t *testing.T) {
	b := newBench(t, "a")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.run()
	b.until("it is applied", func() bool { return b.data("one") == "v1" })
	suspend := func(yes bool) {
		b.byHand(func(tx *store.Tx) error {
			live, _ := store.Get[*v1alpha1.GitSource](tx.Snapshot, "default", "a")
			next := live.DeepCopy()
			next.Spec.Suspend = yes
			next.Generation++
			return tx.Update(next)
		})
	}
	suspend(true)
	b.until("it says that it is suspended", func() bool { return b.condition("a", condReady).Reason == "Suspended" })
	b.byHand(func(tx *store.Tx) error {
		return tx.Delete(store.Key{Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind(), Namespace: "default", Name: "one"})
	})
	b.write("a", "two.yaml", configMap("two", "v1"))
	b.d.Look("default", "a")
	suspend(false)
	b.until("it goes on", func() bool { return b.data("two") == "v1" && b.data("one") == "v1" })
}

func TestACommitThatCannotBeAppliedChangesNothingAndTheNextOneMendsIt(t *testing.T) {
	b := newBench(t, "a")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.run()
	b.until("it is applied", func() bool { return b.data("one") == "v1" })
	b.write("a", "one.yaml", configMap("one", "v2"))
	b.write("a", "bad.yaml", configMap("Bad_Name", "v1"))
	b.d.Look("default", "a")
	b.until("it is refused", func() bool { return b.condition("a", condApplied).Status == metav1.ConditionFalse })
	if c := b.condition("a", condReady); !strings.Contains(c.Message, "bad.yaml:4: ") || b.data("one") != "v1" {
		t.Errorf("%s; one is %s", c.Message, b.data("one"))
	}
	b.write("a", "bad.yaml", configMap("good", "v1"))
	b.d.Look("default", "a")
	b.until("the next commit is applied", func() bool { return b.data("one") == "v2" && b.data("good") == "v1" })
	b.until("all is well again", func() bool { return b.condition("a", condReady).Status == metav1.ConditionTrue })
}

func TestAnObjectMovesBetweenSourcesWithoutBeingDeleted(t *testing.T) {
	b := newBench(t, "a", "b")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.write("a", "keep.yaml", configMap("keep", "v1"))
	b.run()
	b.until("a has it", func() bool { return b.data("one") == "v1" })
	before, _ := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "one")
	b.write("b", "one.yaml", configMap("one", "v2"))
	b.d.Look("default", "b")
	b.until("b is refused", func() bool {
		return strings.Contains(b.condition("b", condReady).Message, "belongs to source default/a (one.yaml:1)")
	})
	if err := os.Remove(filepath.Join(b.dirs["a"], "one.yaml")); err != nil {
		t.Fatal(err)
	}
	b.d.Look("default", "a")
	b.until("b has it", func() bool { return b.data("one") == "v2" })
	if after, _ := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "one"); after.UID != before.UID {
		t.Error("it was deleted and made anew")
	}
}

func TestASourceThatIsTakenAwayLeavesItsObjects(t *testing.T) {
	b := newBench(t, "a", "b")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.run()
	b.until("it is applied", func() bool { return b.data("one") == "v1" })
	b.byHand(func(tx *store.Tx) error {
		for inv := range store.List[*v1alpha1.Inventory](tx.Snapshot) {
			if err := tx.Delete(tx.Key(inv)); err != nil { // as the collector does
				return err
			}
		}
		return tx.Delete(store.Key{Kind: sourceKind, Namespace: "default", Name: "a"})
	})
	b.write("b", "one.yaml", configMap("one", "v2"))
	b.d.Look("default", "b")
	b.until("another source adopts them", func() bool { return b.data("one") == "v2" })
}

func TestAPlanOfAFolderTouchesNothing(t *testing.T) {
	b := newBench(t, "a")
	b.write("a", "one.yaml", configMap("one", "v1"))
	b.run()
	b.until("it is applied", func() bool { return b.condition("a", condReady).Status == metav1.ConditionTrue })
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "two.yaml"), []byte(configMap("two", "v1")), 0o644); err != nil {
		t.Fatal(err)
	}
	at := b.store.Snapshot().Revision()
	plan, err := b.d.PlanFolder(t.Context(), "default", "a", other)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	plan.Print(&text)
	if !strings.Contains(text.String(), "+ ConfigMap default/two\n- ConfigMap default/one\n") {
		t.Errorf("the plan is\n%s", text.String())
	}
	if b.store.Snapshot().Revision() != at {
		t.Error("something was written")
	}
}

func TestWhatWasAppliedIsRemembered(t *testing.T) {
	b := newBench(t, "a")
	b.write("a", "one.yaml", configMap("one", "v1")+"---\n"+configMap("two", "v1"))
	b.run()
	healthy := func(n int) []history.Commit {
		var list []history.Commit
		b.until(fmt.Sprintf("%d commits are remembered and the last is healthy", n), func() bool {
			var err error
			if list, err = b.d.History("default", "a"); err != nil {
				t.Fatal(err)
			}
			return len(list) == n && list[0].Result == history.Healthy && b.condition("a", condHealthy).Status == metav1.ConditionTrue
		})
		return list
	}
	healthy(1)
	b.write("a", "one.yaml", configMap("one", "v2"))
	b.write("a", "new/three.yaml", configMap("three", "v1"))
	b.d.Look("default", "a")
	list := healthy(2)
	uid := b.source("a").UID
	var got []string
	for _, c := range list {
		objects, err := history.At(b.store, uid, c.Number)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			text, err := history.Text(b.store, uid, o)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d %s:%d %s", c.Number, o.Path, o.Line, text))
		}
	}
	line := func(at, name, value string) string {
		return fmt.Sprintf(`%s {"apiVersion":"v1","data":{"key":"%s"},"kind":"ConfigMap","metadata":{"name":"%s","namespace":"default"}}`, at, value, name)
	}
	want := []string{line("2 new/three.yaml:1", "three", "v1"), line("2 one.yaml:1", "one", "v2"), line("1 one.yaml:1", "one", "v1"), line("1 one.yaml:8", "two", "v1")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if list[1].Hash != list[0].Parent || list[1].Result != history.Healthy {
		t.Errorf("%+v", list)
	}
	b.byHand(func(tx *store.Tx) error { return tx.Delete(tx.Key(b.source("a"))) })
	b.d.Look("default", "a")
	for deadline := time.Now().Add(20 * time.Second); ; {
		left, err := history.Sources(b.store)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the histories of %v are left", left)
		}
		<-time.After(2 * time.Millisecond) // there is nothing to wait on
	}
}
