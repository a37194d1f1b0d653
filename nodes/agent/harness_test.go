package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var kinds = func() store.Kinds {
	k := store.Kinds{}
	for kind, o := range map[string]store.Object{
		"Pod": &corev1.Pod{}, "ConfigMap": &corev1.ConfigMap{}, "Secret": &corev1.Secret{}, "Service": &corev1.Service{},
		"Node": &corev1.Node{}, "Event": &corev1.Event{}, "Namespace": &corev1.Namespace{}, "ServiceAccount": &corev1.ServiceAccount{},
		"PersistentVolume": &corev1.PersistentVolume{}, "PersistentVolumeClaim": &corev1.PersistentVolumeClaim{},
	} {
		k.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, o)
	}
	k.Add(schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}, &coordinationv1.Lease{})
	return k
}()

// network is one in memory.
type network struct {
	mu        sync.Mutex
	addresses map[types.UID]netip.Addr
	last      netip.Addr
	withdraw  func(context.Context, netip.Addr) error // nil: at once
	fail      func(what string, uid types.UID) error  // nil: never
}

func newNetwork() *network {
	return &network{addresses: map[types.UID]netip.Addr{}, last: netip.MustParseAddr("10.1.0.1")}
}

func (n *network) failing(what string, uid types.UID) error {
	if n.fail == nil {
		return nil
	}
	return n.fail(what, uid)
}

func (n *network) Attach(_ context.Context, uid types.UID, netns string) (netip.Addr, error) {
	if err := n.failing("Attach", uid); err != nil {
		return netip.Addr{}, err
	}
	if netns == "" {
		return netip.Addr{}, errors.New("no network namespace")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.addresses[uid]; !ok {
		n.last = n.last.Next()
		n.addresses[uid] = n.last
	}
	return n.addresses[uid], nil
}

func (n *network) Detach(_ context.Context, uid types.UID) error {
	if err := n.failing("Detach", uid); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.addresses, uid)
	return nil
}

func (n *network) Attached(context.Context) ([]types.UID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []types.UID
	for uid := range n.addresses {
		all = append(all, uid)
	}
	return all, nil
}

func (n *network) Withdrawn(ctx context.Context, a netip.Addr) error {
	if n.withdraw == nil {
		return ctx.Err()
	}
	return n.withdraw(ctx, a)
}

// images is an image store whose registry has what it is told.
type images struct {
	mu       sync.Mutex
	here     map[string]bool
	registry map[string]bool
	pulls    int
	took     time.Duration // by a pull
	fail     func(ref string) error
	fake     *runtimetest.Fake
}

func (i *images) Get(_ context.Context, ref string) (image.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.here[ref] {
		return image.Image{}, image.ErrNotFound
	}
	return image.Image{Ref: ref, ID: "sha256:5"}, nil
}

func (i *images) Pull(ctx context.Context, ref string, _ image.Auth, f image.Follow) (image.Image, error) {
	f.Progress(30<<20, 90<<20)
	if i.took > 0 {
		select {
		case <-ctx.Done():
			return image.Image{}, ctx.Err()
		case <-time.After(i.took):
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pulls++
	if i.fail != nil {
		if err := i.fail(ref); err != nil {
			return image.Image{}, err
		}
	}
	if !i.registry[ref] {
		return image.Image{}, &image.Error{Reason: image.NotFound, Ref: ref}
	}
	i.here[ref] = true
	i.fake.AddImage(ref, runtimetest.FakeImage{Digest: "sha256:7", Entrypoint: []string{"/prog"}, Cmd: []string{"wait"}})
	return image.Image{Ref: ref, ID: "sha256:7", Size: 90 << 20}, nil
}

// have says whether an image is on the machine, offer that the registry has it, asked how often the registry was asked.
func (i *images) have(ref string, is bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.here[ref] = is
}

func (i *images) offer(ref string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.registry[ref] = true
}

func (i *images) asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pulls
}

func (i *images) Import(context.Context, io.Reader) ([]image.Image, error) { return nil, nil }
func (i *images) List(context.Context) ([]image.Image, error)              { return nil, nil }
func (i *images) Disk(context.Context) (image.Disk, error)                 { return image.Disk{}, nil }
func (i *images) Remove(context.Context, string) error                     { return nil }

// node is a node with all that an agent needs around it.
type node struct {
	t       testing.TB
	store   *store.Memory
	backend *store.Volatile
	fake    *runtimetest.Fake
	net     *network
	images  *images
	volumes *volume.Volumes
	dir     string
	uids    int
	config  func(*Config)
}

func newNode(t testing.TB) *node {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"pods", "memory"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n := &node{t: t, backend: store.NewVolatile(kinds), fake: runtimetest.NewFake(time.Now), net: newNetwork(), dir: dir,
		volumes: volume.In(filepath.Join(dir, "pods"), filepath.Join(dir, "memory"))}
	n.images = &images{here: map[string]bool{runtimetest.ImageName: true}, registry: map[string]bool{}, fake: n.fake}
	var err error
	if n.store, err = store.Open(n.backend, kinds, store.Options{Guard: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
	n.put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hello"}})
	return n
}

func (n *node) agent() *Agent {
	n.t.Helper()
	c := Config{
		Node:    Node{Name: "here", Address: netip.MustParseAddr("192.0.2.1"), Resolv: "/nowhere"},
		Reader:  n.store,
		Writer:  &Local{Store: n.store, Now: time.Now, UID: func() types.UID { n.uids++; return types.UID(fmt.Sprint("made-", n.uids)) }},
		Runtime: n.fake, Network: n.net, Images: image.NewPuller(n.images, 3), Volumes: n.volumes, Logs: stream.New(0, 0),
	}
	if n.config != nil {
		n.config(&c)
	}
	a, err := New(c)
	if err != nil {
		n.t.Fatal(err)
	}
	return a
}

// run runs an agent, and the programs of its containers, until stop is called.
func (n *node) run() (a *Agent, stop func()) {
	a = n.agent()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.fake.Run(ctx) })
	wg.Go(func() {
		if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
			n.t.Errorf("the agent ended with %v", err)
		}
	})
	return a, func() { cancel(); wg.Wait() }
}

// put creates or replaces an object, or the metadata and spec of one.
func (n *node) put(o store.Object) {
	n.t.Helper()
	if _, err := n.store.Update(context.Background(), "test", func(tx *store.Tx) error {
		if _, ok := tx.Get(tx.Key(o)); ok {
			return tx.Update(o)
		}
		return tx.Create(o)
	}); err != nil {
		n.t.Fatal(err)
	}
}

// pod creates a pod from its spec.
func (n *node) pod(name, spec string) *corev1.Pod {
	n.t.Helper()
	p := parsePod(n.t, name, spec)
	n.put(p)
	return p
}

func parsePod(t testing.TB, name, spec string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll("spec:\n"+indent(spec), "\t", "  ")), p); err != nil {
		t.Fatalf("%v in:\n%s", err, spec)
	}
	p.Name, p.Namespace, p.UID = name, "hello", types.UID("uid-"+name)
	p.Spec.NodeName = "here"
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Image == "" {
			p.Spec.Containers[i].Image = runtimetest.ImageName
		}
	}
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Image == "" {
			p.Spec.InitContainers[i].Image = runtimetest.ImageName
		}
	}
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	return p
}

func indent(s string) string {
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString("  " + l)
	}
	return b.String()
}

// get is the pod as it is stored; nil if it is gone.
func (n *node) get(name string) *corev1.Pod {
	p, ok := store.Get[*corev1.Pod](n.store.Snapshot(), "hello", name)
	if !ok {
		return nil
	}
	return p
}

// delete asks for the end of a pod, as the API does: whatever the agent writes meanwhile.
func (n *node) delete(name string, grace int64) {
	n.t.Helper()
	at := metav1.NewTime(n.fake.Now().Add(time.Duration(grace) * time.Second))
	if _, err := n.store.Update(context.Background(), "test", func(tx *store.Tx) error {
		p, ok := store.Get[*corev1.Pod](tx.Snapshot, "hello", name)
		if !ok {
			return fmt.Errorf("pod %s: %w", name, store.ErrNotFound)
		}
		p = p.DeepCopy()
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
		return tx.Update(p)
	}); err != nil {
		n.t.Fatal(err)
	}
}

// drop removes a pod from the store at once.
func (n *node) drop(name string) {
	n.t.Helper()
	if _, err := n.store.Update(context.Background(), "test", func(tx *store.Tx) error {
		return tx.Delete(tx.Key(n.get(name)))
	}); err != nil {
		n.t.Fatal(err)
	}
}

// id is a run of a container.
func id(pod, container string, attempt int) runtime.ID {
	return runtime.ID{Pod: types.UID("uid-" + pod), Name: container, Attempt: attempt}
}

// show is a pod in one line.
func show(p *corev1.Pod) string {
	if p == nil {
		return "gone"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s", p.Status.Phase)
	if ready(&p.Status) {
		b.WriteString(" ready")
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		fmt.Fprintf(&b, " %s=", s.Name)
		switch {
		case s.State.Running != nil:
			b.WriteString("running")
		case s.State.Terminated != nil:
			fmt.Fprintf(&b, "%s(%d)", s.State.Terminated.Reason, s.State.Terminated.ExitCode)
		case s.State.Waiting != nil:
			b.WriteString(s.State.Waiting.Reason)
		}
		if s.RestartCount > 0 {
			fmt.Fprintf(&b, "/%d", s.RestartCount)
		}
	}
	return b.String()
}

// expect checks a pod after some time.
func (n *node) expect(after time.Duration, name, want string) {
	n.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	if got := show(n.get(name)); got != want {
		n.t.Errorf("pod %s is %q, want %q\n%s%s", name, got, want, n.fake, n.events(name))
	}
}

// events are those about a pod.
func (n *node) events(name string) string {
	var all []string
	for e := range store.List[*corev1.Event](n.store.Snapshot()) {
		if e.InvolvedObject.Name == name {
			all = append(all, fmt.Sprintf("%s %s %dx: %s\n", e.Type, e.Reason, e.Count, e.Message))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

const soon = time.Second // more than statuses and events are held back

// read reads a file of a pod.
func (n *node) read(pod, path string) string {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "pods", "uid-"+pod, path))
	if err != nil {
		n.t.Error(err)
	}
	return string(text)
}

// list is what is in a folder.
func (n *node) list(dir string) []string {
	n.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		n.t.Error(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
