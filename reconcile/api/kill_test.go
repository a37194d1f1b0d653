package api

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
)

// durableFolder makes the test program an API server with its store in that folder, until it is killed.
const durableFolder = "MAINSTAY_TEST_DURABLE_API_IN"

func serveDurably(dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	kinds := scheme.New(scheme.Options{})
	backend, err := disk.Open(filepath.Join(dir, "store"), kinds.Codec(), disk.Options{})
	if err != nil {
		return err
	}
	st, err := store.Open(backend, kinds.Stored, store.Options{})
	if err != nil {
		return err
	}
	if st.Snapshot().Revision() == 0 {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		kinds.Of(n).PrepareCreate(n, "uid-1", time.Now())
		if _, err := st.Update(context.Background(), "begin", func(tx *store.Tx) error { return tx.Create(n) }); err != nil {
			return err
		}
	}
	authority, err := access.LoadAuthority(filepath.Join(dir, "pki"), time.Now())
	if err != nil {
		return err
	}
	server, err := New(Config{Scheme: kinds, Documents: openapi.New(), Store: st, Authority: authority, Listeners: []net.Listener{l}, Log: slog.Default(), Now: time.Now})
	if err != nil {
		return err
	}
	if err := authority.Kubeconfig(filepath.Join(dir, "kubeconfig"), "https://"+l.Addr().String(), time.Now()); err != nil {
		return err
	}
	fmt.Println("serving")
	return server.Run(context.Background())
}

// durable starts such a server, and returns a client, and how to kill it.
func durable(t *testing.T, dir string) (*kubernetes.Clientset, func()) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), durableFolder+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line := bufio.NewScanner(out); !line.Scan() || line.Text() != "serving" {
		t.Fatalf("it does not serve: %v", child.Wait())
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return k, func() {
		_ = child.Process.Kill() // it may have died by itself, which shows in what it has kept
		_ = child.Wait()
	}
}

// acknowledged notes what was acknowledged.
type acknowledged struct {
	mu    sync.Mutex
	names map[string]string // revisions
}

// write creates objects in as many goroutines until the server is gone.
func (a *acknowledged) write(k kubernetes.Interface, round, writers int) *sync.WaitGroup {
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%d-%d-%d", round, w, i)}}
				made, err := k.CoreV1().ConfigMaps("default").Create(context.Background(), m, metav1.CreateOptions{})
				if err != nil {
					return
				}
				a.mu.Lock()
				a.names[made.Name] = made.ResourceVersion
				a.mu.Unlock()
			}
		})
	}
	return &wg
}

// countEvents counts the events of a watch, and keeps the version of the last.
func countEvents(w watch.Interface, last *atomic.Value, n *atomic.Int64) {
	for e := range w.ResultChan() {
		if m, ok := e.Object.(*corev1.ConfigMap); ok {
			last.Store(m.ResourceVersion)
			n.Add(1)
		}
	}
}

func TestAKillUnderLoadLosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	a := &acknowledged{names: map[string]string{}}
	for round := range 3 {
		k, kill := durable(t, dir)
		maps := k.CoreV1().ConfigMaps("default")
		now, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := maps.Watch(t.Context(), metav1.ListOptions{ResourceVersion: now.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		var last atomic.Value
		var seen atomic.Int64
		go countEvents(w, &last, &seen) // ends with the server
		writers := a.write(k, round, 8)
		eventually(t, "there is something to lose", func() bool { return seen.Load() > 100 })
		kill()
		writers.Wait()

		k, kill = durable(t, dir)
		maps = k.CoreV1().ConfigMaps("default")
		got, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]string{}
		for _, m := range got.Items {
			there[m.Name] = m.ResourceVersion
		}
		for name, revision := range a.names {
			if there[name] != revision {
				t.Errorf("round %d: %s was acknowledged at %s, and is at %q", round, name, revision, there[name])
			}
		}
		resumes(t, k, last.Load().(string), got)
		kill()
	}
}

// resumes wants a watch from a version before the kill to bring what came after it, or to say that it cannot.
func resumes(t *testing.T, k kubernetes.Interface, from string, all *corev1.ConfigMapList) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	missing := map[string]bool{}
	for _, m := range all.Items {
		if len(m.ResourceVersion) > len(from) || len(m.ResourceVersion) == len(from) && strings.Compare(m.ResourceVersion, from) > 0 {
			missing[m.Name] = true
		}
	}
	w, err := k.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: from})
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for len(missing) > 0 {
		e, ok := <-w.ResultChan()
		if !ok {
			t.Fatalf("the watch ends, and %d objects are missing", len(missing))
		}
		if e.Type == watch.Error {
			if err := apierrors.FromObject(e.Object); !apierrors.IsResourceExpired(err) {
				t.Errorf("the watch ends otherwise than by 410: %v", err)
			}
			return
		}
		delete(missing, e.Object.(*corev1.ConfigMap).Name)
	}
}
