package kubestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func pod(namespace, name string) *example.Pod {
	return &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func create(t testing.TB, s *Storage, o *example.Pod) *example.Pod {
	t.Helper()
	out := &example.Pod{}
	if err := s.Create(context.Background(), s.keyOf(o), o, out, 0); err != nil {
		t.Fatal(err)
	}
	return out
}

// label is an update that sets a label.
func label(value string) storage.UpdateFunc {
	return storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		o.(*example.Pod).Labels = map[string]string{"v": value}
		return o, nil
	})
}

// next is the next event of w, or nil if it has ended.
func next(t *testing.T, w watch.Interface) *watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			return nil
		}
		return &e
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		return nil
	}
}

func seen(e *watch.Event) string {
	if e == nil {
		return "the end"
	}
	o := e.Object
	if c, ok := o.(runtime.CacheableObject); ok {
		o = c.GetObject()
	}
	p, ok := o.(*example.Pod)
	if !ok {
		return fmt.Sprintf("%s %T", e.Type, o)
	}
	return fmt.Sprintf("%s %s %s", e.Type, p.Name, p.ResourceVersion)
}

func TestKeysAreRefusedAsUpstreamRefusesThem(t *testing.T) {
	s, _ := newStorage(t)
	ctx, out := t.Context(), &example.Pod{}
	for key, want := range map[string]string{
		"": "empty key", "/": "empty key", ".": "invalid key", "..": "invalid key", "/pods/../x": "invalid key",
		"pods": "lacks resource prefix", "/pods": "lacks resource prefix", "/pods.apps": "lacks resource prefix", "/foo/": "lacks resource prefix",
	} {
		_, watching := s.Watch(ctx, key, storage.ListOptions{Predicate: storage.Everything})
		for verb, err := range map[string]error{
			"create": s.Create(ctx, key, pod("", "x"), out, 0),
			"get":    s.Get(ctx, key, storage.GetOptions{}, out),
			"list":   s.GetList(ctx, key, storage.ListOptions{Predicate: storage.Everything}, &example.PodList{}),
			"watch":  watching,
			"update": s.GuaranteedUpdate(ctx, key, out, true, nil, label("x"), nil),
			"delete": s.Delete(ctx, key, out, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}),
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %q: %v, want %q", verb, key, err, want)
			}
		}
	}
}

func TestAnObjectIsRefusedUnderAnotherName(t *testing.T) {
	s, _ := newStorage(t)
	err := s.Create(t.Context(), "/pods/a/b", pod("a", "c"), nil, 0)
	if err == nil || !strings.Contains(err.Error(), `the object calls itself "c" in namespace "a"`) {
		t.Error(err)
	}
}

func TestAnUpdateThatMeetsAnotherIsTriedAgain(t *testing.T) {
	s, _ := newStorage(t)
	create(t, s, pod("a", "b"))
	tries := 0
	out := &example.Pod{}
	err := s.GuaranteedUpdate(t.Context(), "/pods/a/b", out, false, nil, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
		if tries++; tries == 1 {
			if err := s.GuaranteedUpdate(t.Context(), "/pods/a/b", &example.Pod{}, false, nil, label("other"), nil); err != nil {
				return nil, err
			}
		}
		p := o.(*example.Pod)
		p.Annotations = map[string]string{"saw": p.Labels["v"]}
		return p, nil
	}), nil)
	if err != nil || tries != 2 || out.Annotations["saw"] != "other" {
		t.Errorf("%d tries, saw %v, %v", tries, out.Annotations, err)
	}
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	s, f := newStorage(t)
	o := pod("a", "b")
	o.CreationTimestamp = metav1.NewTime(time.Unix(1000, 5)) // kept in seconds
	was := create(t, s, o)
	before := f.Snapshot().Revision()
	for name, change := range map[string]func(*example.Pod){
		"nothing":                   func(*example.Pod) {},
		"no labels to empty labels": func(p *example.Pod) { p.Labels = map[string]string{} },
		"half a second":             func(p *example.Pod) { p.CreationTimestamp.Time = p.CreationTimestamp.Add(time.Second / 2) },
	} {
		out := &example.Pod{}
		err := s.GuaranteedUpdate(t.Context(), "/pods/a/b", out, false, nil, storage.SimpleUpdate(func(o runtime.Object) (runtime.Object, error) {
			change(o.(*example.Pod))
			return o, nil
		}), nil)
		if err != nil || f.Snapshot().Revision() != before || cmp.Diff(was, out) != "" {
			t.Errorf("%s: revision %d, was %d, %v\n%s", name, f.Snapshot().Revision(), before, err, cmp.Diff(was, out))
		}
	}
}

func TestAPreconditionIsChecked(t *testing.T) {
	s, _ := newStorage(t)
	o := pod("a", "b")
	o.UID = "one"
	was := create(t, s, o)
	revision, stale := was.ResourceVersion, "1"
	for name, pre := range map[string]storage.Preconditions{
		"another UID":      {UID: new(types.UID)},
		"an older version": {ResourceVersion: &stale},
	} {
		err := s.GuaranteedUpdate(t.Context(), "/pods/a/b", &example.Pod{}, false, &pre, label("x"), nil)
		if !storage.IsInvalidObj(err) {
			t.Errorf("update with %s: %v", name, err)
		}
		err = s.Delete(t.Context(), "/pods/a/b", &example.Pod{}, &pre, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
		if !storage.IsInvalidObj(err) {
			t.Errorf("delete with %s: %v", name, err)
		}
	}
	right := storage.Preconditions{UID: &o.UID, ResourceVersion: &revision}
	if err := s.Delete(t.Context(), "/pods/a/b", &example.Pod{}, &right, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

func TestAdmissionDecidesOnTheStateThatIsWrittenTo(t *testing.T) {
	full := errors.New("full")
	s, _ := newStorage(t, func(c *Config) {
		c.Admit = func(now *store.Tx, _, _ store.Object) error {
			if now.Len(podKind) == 3 {
				return full
			}
			return nil
		}
	})
	var made atomic.Int32
	done := make(chan error)
	for i := range 10 {
		go func() {
			err := s.Create(context.Background(), fmt.Sprintf("/pods/a/p%d", i), pod("a", fmt.Sprintf("p%d", i)), nil, 0)
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, full) {
				done <- err
				return
			}
			done <- nil
		}()
	}
	for range 10 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if made.Load() != 3 {
		t.Errorf("%d were made", made.Load())
	}
}

func TestWhatMustBeGivenOnceIsGivenOnce(t *testing.T) {
	s, f := newStorage(t, func(c *Config) {
		c.Assign = func(tx *store.Tx, old, new store.Object) error {
			number := fmt.Sprint(tx.Len(podKind))
			if old != nil {
				number = old.GetAnnotations()["number"]
			}
			new.SetAnnotations(map[string]string{"number": number})
			return nil
		}
	})
	done := make(chan error)
	for i := range 10 {
		go func() {
			done <- s.Create(context.Background(), fmt.Sprintf("/pods/a/p%d", i), pod("a", fmt.Sprintf("p%d", i)), nil, 0)
		}()
	}
	for range 10 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	out := &example.Pod{}
	if err := s.GuaranteedUpdate(t.Context(), "/pods/a/p3", out, false, nil, label("x"), nil); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{}
	for o := range f.Snapshot().List(store.Query{Kind: podKind}) {
		number := o.GetAnnotations()["number"]
		if given[number] != "" {
			t.Errorf("%s was given to %s and %s", number, given[number], o.GetName())
		}
		given[number] = o.GetName()
	}
	if given[out.Annotations["number"]] != "p3" {
		t.Errorf("%v, %v", given, out.Annotations)
	}
}

func TestAWatchCutInsideATransactionMissesNothing(t *testing.T) {
	s, f := newStorage(t)
	began := f.Snapshot().Revision()
	if _, err := f.Update(t.Context(), "a hundred", func(tx *store.Tx) error {
		for i := range 100 {
			if err := tx.Create(pod("a", fmt.Sprintf("p%03d", i))); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	from, got := began.String(), 0
	for got < 100 { // each watch is cut after one event, and resumed from what it said
		w, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: from, Predicate: storage.Everything})
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("ADDED p%03d %d", got, int(began)+got+1)
		if e := next(t, w); seen(e) != want {
			t.Fatalf("%s, want %s", seen(e), want)
		}
		w.Stop()
		got++
		from = (began + store.Revision(got)).String()
	}
}

func TestAnObjectEntersAndLeavesASelector(t *testing.T) {
	s, _ := newStorage(t)
	w, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: storage.SelectionPredicate{
		Label: labels.SelectorFromSet(labels.Set{"v": "in"}), Field: storage.Everything.Field,
		GetAttrs: storage.DefaultNamespaceScopedAttr}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	create(t, s, pod("a", "b")) // revision 2
	for _, v := range []string{"in", "out", "in"} {
		if err := s.GuaranteedUpdate(t.Context(), "/pods/a/b", &example.Pod{}, false, nil, label(v), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), "/pods/a/b", &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ADDED b 3", "DELETED b 4", "ADDED b 5", "DELETED b 6"} {
		if got := seen(next(t, w)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestAWatchThatTheStoreForgotIsToldSo(t *testing.T) {
	s, f := newStorage(t)
	f.floor.Store(5)
	w, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	if e := next(t, w); e == nil || e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("%+v", e)
	}
	if e := next(t, w); e != nil {
		t.Errorf("%s after the error", seen(e))
	}
}

func TestAWatchFromTheFutureIsToldSo(t *testing.T) {
	s, _ := newStorage(t)
	w, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1000", Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	if e := next(t, w); e == nil || e.Type != watch.Error || !storage.IsTooLargeResourceVersion(apierrors.FromObject(e.Object)) {
		t.Errorf("%+v", e)
	}
}

func TestProgressIsTold(t *testing.T) {
	s, f := newStorage(t, func(c *Config) { c.Bookmarks = time.Hour })
	w, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: storage.Everything, ProgressNotify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	create(t, s, pod("a", "b"))
	if got := seen(next(t, w)); got != "ADDED b 2" {
		t.Error(got)
	}
	f.touch(t.Context(), t)
	var e *watch.Event
	for e == nil { // the first requests may come before the watch waits for them
		if err := s.RequestWatchProgress(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-w.ResultChan():
			e = &got
		case <-time.After(10 * time.Millisecond):
		}
	}
	if got := seen(e); got != "BOOKMARK  3" {
		t.Error(got)
	}
}

func TestClosingEndsWatches(t *testing.T) {
	closing := make(chan struct{})
	s, _ := newStorage(t, func(c *Config) { c.Closing = closing })
	idle, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	stuck, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // more than a watch buffers; nobody reads
		create(t, s, pod("a", fmt.Sprint(i)))
	}
	close(closing)
	for _, w := range []watch.Interface{idle, stuck} {
		n := 0
		for e := next(t, w); e != nil; e = next(t, w) {
			n++
		}
		if n > 100 {
			t.Errorf("%d events", n)
		}
	}
}

func TestAListInPagesOutlivesWhatTheStoreRemembers(t *testing.T) {
	clock := time.Unix(0, 0)
	pins := &Pins{For: 5 * time.Minute, Limit: 2, Now: func() time.Time { return clock }}
	s, f := newStorage(t, func(c *Config) { c.Pins = pins })
	for i := range 5 {
		create(t, s, pod("a", fmt.Sprint(i)))
	}
	begin := func() *example.PodList {
		list := &example.PodList{}
		if err := s.GetList(t.Context(), "/pods", storage.ListOptions{Recursive: true, Predicate: limited(2, "")}, list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	page := begin()
	if got := *page.RemainingItemCount; len(page.Items) != 2 || got != 3 {
		t.Fatalf("%d items, %d remain", len(page.Items), got)
	}
	if err := s.Delete(t.Context(), "/pods/a/4", &example.Pod{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.floor.Store(1000)
	rest := &example.PodList{}
	if err := s.GetList(t.Context(), "/pods", storage.ListOptions{Recursive: true, Predicate: limited(0, page.Continue)}, rest); err != nil {
		t.Fatal(err)
	}
	if len(rest.Items) != 3 || rest.ResourceVersion != page.ResourceVersion {
		t.Errorf("%d more, at %s", len(rest.Items), rest.ResourceVersion)
	}

	clock = clock.Add(6 * time.Minute)
	pins.Drop()
	err := s.GetList(t.Context(), "/pods", storage.ListOptions{Recursive: true, Predicate: limited(0, page.Continue)}, rest)
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("after six minutes: %v", err)
	}
	for range 5 {
		f.touch(t.Context(), t)
		begin()
	}
	if len(pins.kept) != 2 {
		t.Errorf("%d are pinned", len(pins.kept))
	}
}

func limited(n int64, from string) storage.SelectionPredicate {
	p := storage.Everything
	p.Limit, p.Continue = n, from
	return p
}

func TestWatchesShareOneEncoding(t *testing.T) {
	s, _ := newStorage(t)
	var watches []watch.Interface
	for range 3 {
		w, err := s.Watch(t.Context(), "/pods", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: storage.Everything})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		watches = append(watches, w)
	}
	create(t, s, pod("a", "b"))
	encoded := 0
	encode := func(o runtime.Object, w io.Writer) error {
		encoded++
		o.(*example.Pod).Name = "written to" // which is its right
		_, err := io.WriteString(w, o.(*example.Pod).Namespace)
		return err
	}
	var got []runtime.CacheableObject // all are in hand at once
	for _, w := range watches {
		got = append(got, next(t, w).Object.(runtime.CacheableObject))
	}
	for _, o := range got {
		var b bytes.Buffer
		if err := o.CacheEncode("plain", encode, &b); err != nil || b.String() != "a" {
			t.Errorf("%q, %v", b.String(), err)
		}
	}
	if encoded != 1 {
		t.Errorf("encoded %d times", encoded)
	}
}

func TestWhatIsHandedOutMayBeWrittenToAtItsTop(t *testing.T) {
	s, _ := newStorage(t) // its store finds who writes to what it shares
	o := pod("a", "b")
	o.Labels = map[string]string{"v": "1"}
	out := create(t, s, o)
	o.Labels["v"] = "2" // what was handed in is the caller's still
	list := &example.PodList{}
	if err := s.GetList(t.Context(), "/pods", storage.ListOptions{Recursive: true, Predicate: storage.Everything}, list); err != nil {
		t.Fatal(err)
	}
	got := &example.Pod{}
	if err := s.Get(t.Context(), "/pods/a/b", storage.GetOptions{}, got); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*example.Pod{out, got, &list.Items[0]} {
		if p.Kind != "" || p.Labels["v"] != "1" || p.ResourceVersion != "2" {
			t.Errorf("%+v", p)
		}
		p.Labels, p.ResourceVersion, p.Kind = nil, "9", "Changed"
	}
}

func FuzzLists(f *testing.F) {
	s, _ := newStorage(f)
	for i := range 5 {
		create(f, s, pod(fmt.Sprint("n", i%2), fmt.Sprint(i)))
	}
	token, err := storage.EncodeContinue("/pods/n0/2\x00", "/pods/", 4)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/pods/n0", true, "", "", "Exact", int64(2))
	f.Add("/pods", true, "3", token, "NotOlderThan", int64(1))
	f.Add("/pods/n1/1", false, "0", "", "", int64(0))
	f.Fuzz(func(t *testing.T, key string, recursive bool, version, from, match string, limit int64) {
		list := &example.PodList{}
		err := s.GetList(t.Context(), key, storage.ListOptions{Recursive: recursive, ResourceVersion: version,
			ResourceVersionMatch: metav1.ResourceVersionMatch(match), Predicate: limited(limit, from)}, list)
		if err != nil {
			return
		}
		if limit > 0 && int64(len(list.Items)) > limit {
			t.Errorf("%d items, asked for %d", len(list.Items), limit)
		}
		for i := range list.Items {
			if recursive && !strings.HasPrefix(s.keyOf(&list.Items[i]), strings.TrimSuffix(key, "/")+"/") {
				t.Errorf("%s is not under %s", s.keyOf(&list.Items[i]), key)
			}
		}
	})
}
