package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// eventually waits until ok, which must be within a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("it never happened: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// a wire is between a client and the server. It can be cut: requests under way end, and new ones fail until it is mended.
type wire struct {
	next   http.RoundTripper
	mu     sync.Mutex
	isCut  bool
	bodies map[*body]bool
	lists  atomic.Int32 // requests for all there is
}

type body struct {
	io.ReadCloser
	wire  *wire
	isCut atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && b.isCut.Load() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *body) Close() error {
	b.wire.mu.Lock()
	delete(b.wire.bodies, b)
	b.wire.mu.Unlock()
	return b.ReadCloser.Close()
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	cut := w.isCut
	w.mu.Unlock()
	if cut {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} // as when the server is away
	}
	if q := r.URL.Query(); q.Get("watch") == "" || q.Get("sendInitialEvents") == "true" {
		w.lists.Add(1)
	}
	answer, err := w.next.RoundTrip(r)
	if err == nil {
		b := &body{ReadCloser: answer.Body, wire: w}
		w.mu.Lock()
		w.bodies[b] = true
		w.mu.Unlock()
		answer.Body = b
	}
	return answer, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for b := range w.bodies {
		b.isCut.Store(true)
		_ = b.ReadCloser.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}

// over is a client whose requests go over a wire.
func (c *cluster) over(t *testing.T) (*kubernetes.Clientset, *wire) {
	t.Helper()
	w := &wire{bodies: map[*body]bool{}}
	config := c.admin(t)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		w.next = next
		return w
	}
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return k, w
}

// follow starts an informer of ConfigMaps, which ends with the test.
func follow(t *testing.T, k *kubernetes.Clientset) cache.SharedIndexInformer {
	t.Helper()
	factory := informers.NewSharedInformerFactory(k, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	if err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
		t.Fatal(err) // the wire is cut on purpose: nobody needs to read of it
	}
	ctx, cancel := context.WithCancel(context.Background())
	factory.StartWithContext(ctx)
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	return informer
}

// agree tells whether an informer knows what the store has.
func agree(c *cluster, informer cache.SharedIndexInformer) bool {
	has := map[string]string{}
	for m := range store.List[*corev1.ConfigMap](c.Memory.Snapshot()) {
		has[m.Namespace+"/"+m.Name] = m.ResourceVersion
	}
	known := informer.GetStore().List()
	for _, o := range known {
		m := o.(*corev1.ConfigMap)
		if has[m.Namespace+"/"+m.Name] != m.ResourceVersion {
			return false
		}
	}
	return len(known) == len(has)
}

// put writes n ConfigMaps in one transaction: new ones, or new versions.
func (c *cluster) put(t *testing.T, n int, value string) {
	t.Helper()
	if _, err := c.Memory.Update(t.Context(), "put", func(tx *store.Tx) error {
		for i := range n {
			m := configMap(fmt.Sprintf("m%03d", i), map[string]string{"v": value})
			m.Namespace = "default"
			write := tx.Create
			if _, ok := store.Get[*corev1.ConfigMap](tx.Snapshot, "default", m.Name); ok {
				write = tx.Update
			}
			if err := write(m); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAnInformerFollowsAndResumes(t *testing.T) {
	c := serve(t)
	k, w := c.over(t)
	c.put(t, 10, "first")
	informer := follow(t, k)
	c.put(t, 20, "second")
	eventually(t, "the informer sees changes", func() bool { return agree(c, informer) })
	w.cut()
	c.put(t, 30, "third")
	lists := w.lists.Load()
	w.mend()
	eventually(t, "the informer resumes", func() bool { return agree(c, informer) })
	if got := w.lists.Load(); got != lists {
		t.Errorf("it listed %d times more, though the store remembers", got-lists)
	}
}

func TestAnInformerListsAgainWhenTheStoreHasForgotten(t *testing.T) {
	c := serve(t, func(_ *Config, o *store.Options) { o.Keep = 20 })
	k, w := c.over(t)
	c.put(t, 10, "first")
	informer := follow(t, k)
	w.cut()
	for i := range 10 {
		c.put(t, 10, fmt.Sprint("more ", i))
	}
	if _, err := c.Memory.Update(t.Context(), "delete", func(tx *store.Tx) error {
		return tx.Delete(store.Key{Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind(), Namespace: "default", Name: "m003"})
	}); err != nil {
		t.Fatal(err)
	}
	lists := w.lists.Load()
	w.mend()
	eventually(t, "the informer agrees", func() bool { return agree(c, informer) })
	if w.lists.Load() == lists {
		t.Error("it did not notice")
	}
}

func TestAWatchCutInsideATransactionIsResumedWithoutLoss(t *testing.T) {
	c := serve(t)
	for name, content := range map[string]string{"JSON": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"} {
		t.Run(name, func(t *testing.T) {
			config := c.admin(t)
			config.ContentType, config.AcceptContentTypes = content, content
			k, err := kubernetes.NewForConfig(config)
			if err != nil {
				t.Fatal(err)
			}
			from := c.Memory.Snapshot().Revision()
			c.put(t, 100, name)
			version := from.String()
			for i := range 100 { // each watch is cut after one event
				w, err := k.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: version})
				if err != nil {
					t.Fatal(err)
				}
				e := <-w.ResultChan()
				w.Stop()
				m, ok := e.Object.(*corev1.ConfigMap)
				if want := fmt.Sprintf("m%03d", i); !ok || m.Name != want || m.ResourceVersion != (from+1+store.Revision(i)).String() {
					t.Fatalf("event %d: %v %v, want %s", i, e.Type, e.Object, want)
				}
				version = m.ResourceVersion
			}
		})
	}
}

func TestAWatchBeginsWithWhatThereIs(t *testing.T) {
	c := serve(t)
	c.put(t, 3, "x")
	yes := true
	w, err := c.client(t).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var got []string
	for len(got) < 4 {
		e := <-w.ResultChan()
		m, ok := e.Object.(*corev1.ConfigMap)
		if !ok {
			t.Fatalf("%v %v", e.Type, e.Object)
		}
		got = append(got, string(e.Type)+" "+m.Name+m.Annotations[metav1.InitialEventsAnnotationKey])
	}
	if s := strings.Join(got, ", "); s != "ADDED m000, ADDED m001, ADDED m002, BOOKMARK true" {
		t.Error(s)
	}
}

func TestAWatchOfAnOldVersionIsGone(t *testing.T) {
	c := serve(t, func(_ *Config, o *store.Options) { o.Keep = 10 })
	for range 10 {
		c.put(t, 5, "x")
	}
	w, err := c.client(t).CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := <-w.ResultChan(); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("%v %v", e.Type, e.Object)
	}
}

func TestASelectorDecidesWhatAWatchSees(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	w, err := maps.Watch(t.Context(), metav1.ListOptions{LabelSelector: labels.Set{"in": "yes"}.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	m := configMap("m", nil)
	if m, err = maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"yes", "no"} {
		m.Labels = map[string]string{"in": in}
		if m, err = maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []watch.EventType{watch.Added, watch.Deleted} {
		if e := <-w.ResultChan(); e.Type != want {
			t.Errorf("%v, want %v", e.Type, want)
		}
	}
}

// open begins n watches, half of them in protobuf, on one connection, and returns how to count what they have seen.
func open(t testing.TB, c *cluster, n int) (seen *atomic.Int64, stop func()) {
	seen = &atomic.Int64{}
	var all []watch.Interface
	var wg sync.WaitGroup
	for i := range n {
		config := c.admin(t)
		if i%2 == 0 {
			config.ContentType, config.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf"
		}
		k, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		w, err := k.CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{ResourceVersion: c.Memory.Snapshot().Revision().String()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, w)
		wg.Go(func() {
			for range w.ResultChan() {
				seen.Add(1)
			}
		})
	}
	return seen, func() {
		for _, w := range all {
			w.Stop()
		}
		wg.Wait()
	}
}

func TestManyWatchesSeeTheSame(t *testing.T) {
	c := serve(t)
	seen, stop := open(t, c, 20)
	c.put(t, 50, "a")
	c.put(t, 50, "b")
	eventually(t, "all watches see all changes", func() bool { return seen.Load() == 20*100 })
	stop()
}

func TestTheServerEndsQuicklyAndLeavesNothing(t *testing.T) {
	warm := serve(t) // what upstream starts once and for all
	if _, err := warm.client(t).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	warm.stop()
	settle(t, 0)
	before := runtime.NumGoroutine()

	c := serve(t, withLogs(output{}))
	c.running(t, "default", "one", "web")
	k := c.client(t)
	w, err := k.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := k.CoreV1().Pods("default").GetLogs("one", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	if _, err := logs.Read(line); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	c.stop()
	if took := time.Since(at); took > drainWithin {
		t.Errorf("it took %s", took)
	}
	if _, open := <-w.ResultChan(); open {
		t.Error("the watch goes on")
	}
	if _, err := io.Copy(io.Discard, logs); err != nil {
		t.Logf("the logs ended: %v", err)
	}
	_ = logs.Close()
	settle(t, before)
}

// settle waits until no more than n goroutines are left, or, if n is 0, until their number stays the same for a while.
func settle(t *testing.T, n int) {
	t.Helper()
	last, same := 0, 0
	eventually(t, "goroutines end", func() bool {
		now := runtime.NumGoroutine()
		if now == last {
			same++
		} else {
			last, same = now, 0
		}
		if n > 0 {
			return now <= n
		}
		return same > 50
	})
}
