package containerd_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/namespaces"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/keeper"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
)

// program is the path of the test program, which TestMain builds.
const program = "MAINSTAY_TEST_PROGRAM"

// TestMain is also the keeper process, which tests run as "TESTBINARY keeper SOCKET".
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "keeper" {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
		defer stop()
		s := keeper.Server{Socket: os.Args[2], Version: "test", Log: slog.Default()}
		if err := s.Run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	if os.Getenv(daemonDir) != "" { // the child of a test: it will be killed
		os.Exit(m.Run())
	}
	os.Exit(nodetest.Main(m, buildProgram))
}

func buildProgram(dir string) error {
	path, err := runtimetest.BuildProgram(dir)
	if err != nil {
		return err
	}
	return os.Setenv(program, path)
}

// A node is a containerd with its folders and cgroup, and what this package makes of it.
type node struct {
	testing.TB
	Dir     string
	Group   string
	Tree    *cgroup.Tree
	Server  *containerd.Server
	Holder  containerd.Holder
	Client  *containerd.Client
	Images  *containerd.Images
	Runtime *containerd.Runtime
	close   func()
}

// newNode starts one, which has the test image. It ends with the test, and has to be empty then.
func newNode(t testing.TB) *node {
	n := emptyNode(t)
	n.start()
	n.load(runtimetest.ImageName, "")
	return n
}

// emptyNode is one that is not started.
func emptyNode(t testing.TB) *node {
	t.Helper()
	nodetest.Root(t)
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	return nodeAt(t, tree, nodetest.Dir(t), nodetest.Group(t, tree))
}

// nodeAt is the node of a folder, which another process may have started. It is stopped when the test ends.
func nodeAt(t testing.TB, tree *cgroup.Tree, dir, group string) *node {
	t.Helper()
	n := &node{TB: t, Dir: dir, Group: group, Tree: tree}
	n.Server = &containerd.Server{
		DataDir: filepath.Join(n.Dir, "data"), RunDir: filepath.Join(n.Dir, "run"),
		Tree: tree, Group: n.Group + "/containerd", Log: n.log(),
	}
	t.Cleanup(func() {
		n.stop()
		if err := n.Server.Stop(n.background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			text, _ := os.ReadFile(filepath.Join(n.Server.DataDir, "containerd.log"))
			t.Logf("containerd said:\n%s", text)
		}
	})
	return n
}

// withKeeper gives it a keeper, which is this test binary.
func (n *node) withKeeper() *keeper.Keeper {
	n.Helper()
	self, err := os.Executable()
	n.ok(err)
	n.ok(os.MkdirAll(n.Server.RunDir, 0o700))
	k := &keeper.Keeper{
		Args: []string{self, "keeper", keeper.Socket(n.Server.RunDir)}, Version: "test", RunDir: n.Server.RunDir,
		Tree: n.Tree, Group: n.Group + "/keeper", Log: n.log(),
	}
	n.Cleanup(func() { n.ok(k.Stop(n.background())) })
	n.ok(k.Ensure(n.background()))
	n.Holder = k
	return k
}

func (n *node) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(n.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (n *node) background() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	n.Cleanup(cancel)
	return ctx
}

func (n *node) ok(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

// start finds or starts containerd and opens the runtime, as a daemon does.
func (n *node) start() {
	n.Helper()
	n.ok(n.Server.Ensure())
	n.open()
}

// open opens the runtime, on a containerd that runs.
func (n *node) open() {
	n.Helper()
	var err error
	n.Client, err = containerd.Connect(n.background(), n.Server.Socket(), "test")
	n.ok(err)
	n.Images = containerd.NewImages(n.Client)
	n.Runtime, err = containerd.Open(n.background(), n.Client, n.Images, containerd.Config{
		RunDir: n.Server.RunDir, Tree: n.Tree, Pods: n.Tree.NewPods(n.Group + "/pods"), Holder: n.Holder, Seccomp: n.seccomp(), Log: n.log(),
	})
	n.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Runtime.Run(ctx) }()
	n.close = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			n.Error("Run ended with", err)
		}
		n.Client.Close()
		n.close = nil
	}
}

// stop ends what start made, and leaves containerd and all containers.
func (n *node) stop() {
	if n.close != nil {
		n.close()
	}
}

// load imports the test image under a name.
func (n *node) load(ref, user string) {
	n.Helper()
	image, err := runtimetest.Image(os.Getenv(program), user)
	n.ok(err)
	archive := filepath.Join(n.Dir, "image.tar")
	n.ok(runtimetest.Archive(archive, ref, image))
	f, err := os.Open(archive)
	n.ok(err)
	defer f.Close()
	_, err = n.Images.Import(n.Context(), f)
	n.ok(err)
}

// seccomp is the folder of its own profiles.
func (n *node) seccomp() string { return filepath.Join(n.Dir, "seccomp") }

func TestTheRuntimeKeepsTheContract(t *testing.T) {
	runtimetest.Suite(t, func(t *testing.T) runtime.Runtime { return newNode(t).Runtime })
}

// in is the test's context, in the namespace of its containerd.
func (n *node) in() context.Context { return namespaces.WithNamespace(n.Context(), "test") }

// chain is the snapshot of the test image.
func (n *node) chain() string {
	n.Helper()
	image, err := n.Client.GetImage(n.in(), runtimetest.ImageName)
	n.ok(err)
	layers, err := image.RootFS(n.in())
	n.ok(err)
	return identity.ChainID(layers).String()
}

// tarOf packs a folder.
func tarOf(n *node, dir string) string {
	n.Helper()
	f, err := os.CreateTemp(n.Dir, "*.tar")
	n.ok(err)
	defer f.Close()
	w := tar.NewWriter(f)
	n.ok(w.AddFS(os.DirFS(dir)))
	n.ok(w.Close())
	return f.Name()
}
