package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestMain(m *testing.M) { os.Exit(nodetest.Main(m)) }

// real is a node with a containerd of its own.
type real struct {
	*node
	runtime *containerd.Runtime
	puller  *image.Puller
}

// newReal starts containerd in a folder of the test, which ends with the test.
func newReal(t testing.TB) *real {
	t.Helper()
	nodetest.Root(t)
	r := &real{node: newNode(t)}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := cgroup.Open()
	ok(err)
	dir, group := nodetest.Dir(t), nodetest.Group(t, tree)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	server := &containerd.Server{DataDir: dir + "/data", RunDir: dir + "/run", Tree: tree, Group: group + "/containerd", Log: log}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(server.DataDir, "containerd.log"))
			t.Logf("containerd said:\n%s", text)
		}
	})
	ok(server.Ensure())
	client, err := containerd.Connect(ctx, server.Socket(), "test")
	ok(err)
	images := containerd.NewImages(client)
	r.runtime, err = containerd.Open(ctx, client, images, containerd.Config{RunDir: server.RunDir, Tree: tree, Pods: tree.NewPods(group + "/pods"), Log: log})
	ok(err)
	r.puller = image.NewPuller(images, 3)
	loadImage(t, images)
	r.volumes, err = volume.Open(dir+"/pods", dir+"/memory")
	ok(err)
	r.dir = dir
	var wg sync.WaitGroup
	t.Cleanup(func() {
		for _, err := range []error{r.runtime.Clear(ctx), r.volumes.Purge(), images.RemoveAll(ctx)} {
			if err != nil {
				t.Error(err)
			}
		}
		cancel()
		wg.Wait()
		client.Close()
		ctx = context.Background() // for the server, which ends last
	})
	wg.Go(func() {
		if err := r.runtime.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	r.config = func(c *Config) { c.Runtime, c.Images, c.Volumes, c.Log = r.runtime, r.puller, r.volumes, log }
	return r
}

// loadImage imports the image that the runtime's own tests run.
func loadImage(t testing.TB, images *containerd.Images) {
	t.Helper()
	dir := t.TempDir()
	prog, err := runtimetest.BuildProgram(dir)
	if err != nil {
		t.Fatal(err)
	}
	made, err := runtimetest.Image(prog, "")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "image.tar")
	if err := runtimetest.Archive(archive, runtimetest.ImageName, made); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := images.Import(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// until waits until a pod is as it should be.
func (r *real) until(name, want string) {
	r.t.Helper()
	r.await(func(*store.Snapshot) bool { return show(r.get(name)) == want })
}

func TestAPodOnARealRuntime(t *testing.T) {
	r := newReal(t)
	_, stop := r.run()
	r.put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "config"}, Data: map[string]string{"word": "hi"}})
	r.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "secret"}, Data: map[string][]byte{"key": []byte("s3cret")}})
	r.pod("web", `{
	  initContainers: [{name: i, args: [print, first]}],
	  containers: [{name: a, args: [env, WORD, env, POD, cat, /etc/hosts, wait],
	    env: [{name: WORD, valueFrom: {configMapKeyRef: {name: config, key: word}}}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}],
	    readinessProbe: {exec: {command: [/prog, exit, "0"]}},
	    volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s}, {name: e, mountPath: /e, subPath: made/here}, {name: c, mountPath: /word, subPath: word}]}],
	  volumes: [{name: c, configMap: {name: config}}, {name: s, secret: {secretName: secret}}, {name: e, emptyDir: {}}]}`)
	r.until("web", "Running ready i=Completed(0) a=running")
	for _, file := range []struct{ path, want string }{{"/c/word", "hi"}, {"/s/key", "s3cret"}, {"/word", "hi"}} {
		if got := r.exec("web", "a", "cat", file.path); strings.TrimSpace(got) != file.want {
			t.Errorf("%s says %q, want %q", file.path, got, file.want)
		}
	}
	// Another agent takes over, and the container goes on.
	stop()
	a, stop := r.run()
	r.until("web", "Running ready i=Completed(0) a=running")
	out := r.logs(a, "web", &corev1.PodLogOptions{})
	if !strings.HasPrefix(out, "hi\nweb\n# Kubernetes-managed hosts file.\n") || !strings.Contains(out, r.get("web").Status.PodIP+"\tweb\n") {
		t.Errorf("the log is\n%s", out)
	}
	r.pod("nope", `{restartPolicy: Never, containers: [{name: a, command: [/nope]}]}`)
	r.until("nope", "Failed a=StartError(128)")
	r.pod("crash", `{containers: [{name: a, args: [exit, "3"]}]}`)
	r.until("crash", "Running a=CrashLoopBackOff/1")
	for _, name := range []string{"web", "nope", "crash"} {
		r.delete(name, 30)
		r.until(name, "gone")
	}
	defer stop()
	boxes, err := r.runtime.Sandboxes(t.Context())
	if files, _ := r.volumes.List(); err != nil || len(boxes)+len(files) > 0 {
		t.Errorf("left over: %v %v %v", boxes, files, err)
	}
}

// exec runs a script of the test program in a container and returns what it prints.
func (r *real) exec(pod, container string, script ...string) string {
	r.t.Helper()
	var o output
	if _, err := r.runtime.Exec(r.t.Context(), id(pod, container, 0), runtime.Exec{Command: append([]string{"/prog"}, script...), Stdout: &o, Stderr: &o}); err != nil {
		r.t.Error(err)
	}
	return o.text.String()
}

// BenchmarkReal has pods start through containerd, in turn by a bare loop with two workers and by the agent.
func BenchmarkReal(b *testing.B) {
	for _, starts := range []int{2, 3, 4} {
		b.Run(fmt.Sprint("starts=", starts), func(b *testing.B) { benchmarkReal(b, starts) })
	}
}

func benchmarkReal(b *testing.B, starts int) {
	const pods = 20
	r := newReal(b)
	config := r.config
	r.config = func(c *Config) { config(c); c.Starts = starts }
	_, stop := r.run()
	defer stop()
	var bare, agent time.Duration
	round := 0
	for b.Loop() {
		round++
		bare += r.bare(pods, round)
		agent += r.byAgent(pods, round)
	}
	b.ReportMetric(float64(bare.Milliseconds())/float64(b.N*pods), "bare-ms/pod")
	b.ReportMetric(float64(agent.Milliseconds())/float64(b.N*pods), "agent-ms/pod")
	b.ReportMetric(float64(agent)/float64(bare), "ratio")
}

func (r *real) bare(pods, round int) time.Duration {
	begun := time.Now()
	var wg sync.WaitGroup
	work := make(chan int)
	for range 2 {
		wg.Go(func() {
			for i := range work {
				uid := types.UID(fmt.Sprintf("bare-%d-%d", round, i))
				id := runtime.ID{Pod: uid, Name: "a"}
				_, err := r.runtime.MakeSandbox(context.Background(), runtime.SandboxSpec{Pod: uid, Namespace: "hello", Name: string(uid), Hostname: "h"})
				if err == nil {
					err = r.runtime.Create(context.Background(), runtime.ContainerSpec{ID: id, Image: runtimetest.ImageName})
				}
				if err == nil {
					err = r.runtime.Start(context.Background(), id)
				}
				if err != nil {
					r.t.Error(err)
				}
			}
		})
	}
	for i := range pods {
		work <- i
	}
	close(work)
	wg.Wait()
	took := time.Since(begun)
	for i := range pods {
		if err := r.runtime.RemoveSandbox(context.Background(), types.UID(fmt.Sprintf("bare-%d-%d", round, i))); err != nil {
			r.t.Error(err)
		}
	}
	return took
}

func (r *real) byAgent(pods, round int) time.Duration {
	begun := time.Now()
	for i := range pods {
		r.pod(fmt.Sprintf("web-%d-%d", round, i), `{containers: [{name: a}]}`)
	}
	r.await(func(s *store.Snapshot) bool {
		up := 0
		for p := range store.List[*corev1.Pod](s, store.OnNode("here")) {
			if ready(&p.Status) {
				up++
			}
		}
		return up == pods
	})
	took := time.Since(begun)
	for i := range pods {
		r.delete(fmt.Sprintf("web-%d-%d", round, i), 30)
	}
	r.await(func(s *store.Snapshot) bool {
		for range store.List[*corev1.Pod](s, store.OnNode("here")) {
			return false
		}
		return true
	})
	return took
}
