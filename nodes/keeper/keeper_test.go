package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/fifo"
	"github.com/mainstay-gitops/mainstay/nodes/keeper"
	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/process"
)

// TestMain is also the keeper process, which tests run as "TESTBINARY keeper SOCKET VERSION".
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "keeper" {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
		defer stop()
		s := keeper.Server{Socket: os.Args[2], Version: os.Args[3], Work: echo, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
		if err := s.Run(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(nodetest.Main(m))
}

// echo answers each packet that comes to the first socket with itself and the keeper's version. "fail" makes it fail.
func echo(ctx context.Context, files []*os.File) error {
	if len(files) == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	c, err := net.FilePacketConn(files[0])
	if err != nil {
		return err
	}
	files[0].Close()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })() // what it has read it answers
	buf := make([]byte, 100)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		if string(buf[:n]) == "fail" {
			return errors.New("told to fail")
		}
		if _, err := c.WriteTo(append(buf[:n:n], os.Args[3]...), from); err != nil {
			return err
		}
	}
}

func newKeeper(t testing.TB, dir, version string) *keeper.Keeper {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper.Keeper{
		Args: []string{self, "keeper", keeper.Socket(dir), version}, Version: version, RunDir: dir,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	t.Cleanup(func() {
		if err := k.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(dir); err == nil {
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "keeper.") {
					t.Error("left behind:", e.Name())
				}
			}
		}
	})
	return k
}

func ensure(t testing.TB, k *keeper.Keeper) *process.Process {
	t.Helper()
	if err := k.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, ok := process.Find(filepath.Join(k.RunDir, "keeper.pid"))
	if !ok {
		t.Fatal("no keeper runs")
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func makeFIFO(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := fifo.Make(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// put writes to a FIFO and lets go of it.
func put(t testing.TB, path, text string) {
	t.Helper()
	f, err := fifo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// get is what is in a FIFO.
func get(t testing.TB, path string) string {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 1000)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func hold(t testing.TB, k *keeper.Keeper, paths ...string) {
	t.Helper()
	if err := k.Hold(t.Context(), paths...); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsHeldKeepsItsContents(t *testing.T) {
	dir := nodetest.Dir(t)
	k := newKeeper(t, dir, "1")
	ensure(t, k)
	held, free := makeFIFO(t, dir, "held"), makeFIFO(t, dir, "free")
	hold(t, k, held)
	put(t, held, "a")
	put(t, free, "b")
	if a, b := get(t, held), get(t, free); a != "a" || b != "" {
		t.Errorf("held: %q, not held: %q", a, b)
	}
	if err := k.Release(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	put(t, held, "c")
	if c := get(t, held); c != "" {
		t.Errorf("released: %q", c)
	}
}

func TestALaterDaemonFindsTheKeeperAsItIs(t *testing.T) {
	dir := nodetest.Dir(t)
	first := newKeeper(t, dir, "1")
	p := ensure(t, first)
	path := makeFIFO(t, dir, "f")
	hold(t, first, path)
	put(t, path, "text")
	second := newKeeper(t, dir, "1")
	if q := ensure(t, second); q.PID != p.PID {
		t.Error("another was started")
	}
	if got := get(t, path); got != "text" {
		t.Errorf("got %q", got)
	}
}

func TestAKeeperOfAnotherVersionTakesOver(t *testing.T) {
	dir := nodetest.Dir(t)
	first := newKeeper(t, dir, "1")
	old := ensure(t, first)
	path := makeFIFO(t, dir, "f")
	hold(t, first, path)
	put(t, path, "text")
	second := newKeeper(t, dir, "2")
	if p := ensure(t, second); p.PID == old.PID {
		t.Error("the old one is still there")
	}
	if err := old.Wait(t.Context()); err != nil {
		t.Error("the old one does not end:", err)
	}
	if got := get(t, path); got != "text" {
		t.Errorf("got %q", got)
	}
}

func TestANewKeeperThatFailsLeavesTheOldOneAsItWas(t *testing.T) {
	dir := nodetest.Dir(t)
	old := ensure(t, newKeeper(t, dir, "1"))
	bad := newKeeper(t, dir, "2")
	bad.Args = []string{"/bin/false"}
	if err := bad.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "ended at once; see "+dir) {
		t.Error("got", err)
	}
	if !old.Running() {
		t.Error("the old one has ended")
	}
	good := newKeeper(t, dir, "1")
	if err := good.Ensure(t.Context()); err != nil {
		t.Error("it does not answer:", err)
	}
	_ = old.Signal(unix.SIGKILL) // its pid file is that of the one that failed
	_ = old.Wait(t.Context())
}

func TestAKeeperThatIsKilledComesBackAndHoldsTheSame(t *testing.T) {
	dir := nodetest.Dir(t)
	k := newKeeper(t, dir, "1")
	p := ensure(t, k)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	path := makeFIFO(t, dir, "f")
	hold(t, k, path)
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	own, err := fifo.Hold(path) // as the daemon's own descriptor
	if err != nil {
		t.Fatal(err)
	}
	put(t, path, "text")
	other := makeFIFO(t, dir, "g")
	hold(t, k, other) // while it is away, or not
	until(t, func() bool {
		q, ok := process.Find(filepath.Join(dir, "keeper.pid"))
		if ok {
			q.Close()
		}
		return ok && q.PID != p.PID && holds(q.PID, path) && holds(q.PID, other)
	})
	own.Close()
	if got := get(t, path); got != "text" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error("Run ended with", err)
	}
}

func TestFIFOsThatAreGoneAreLetGo(t *testing.T) {
	dir := nodetest.Dir(t)
	first := newKeeper(t, dir, "1")
	p := ensure(t, first)
	path := makeFIFO(t, dir, "f")
	hold(t, first, path)
	if !holds(p.PID, path) {
		t.Fatal("it is not held")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	ensure(t, newKeeper(t, dir, "1"))
	if holds(p.PID, path+" (deleted)") {
		t.Error("it is held")
	}
}

func TestTheWorkGoesOnWithoutAGapWhenAnotherVersionTakesOver(t *testing.T) {
	dir := nodetest.Dir(t)
	addr, first := withSocket(t, dir, "1")
	ensure(t, first)
	ask := asker(t, addr)
	if got := ask("x"); got != "x1" {
		t.Fatalf("got %q", got)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var answers []string
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				answers = append(answers, ask("x"))
			}
		}
	})
	second := newKeeper(t, dir, "2")
	second.Files = func() ([]*os.File, error) { return nil, errors.New("it should not ask for new ones") }
	ensure(t, second)
	until(t, func() bool { return asker(t, addr)("y") == "y2" })
	close(stop)
	wg.Wait()
	for i, a := range answers {
		if a != "x1" && a != "x2" {
			t.Fatalf("answer %d of %d is %q", i, len(answers), a)
		}
	}
}

func TestWhatIsAskedWhileTheKeeperIsDeadIsAnsweredByTheNext(t *testing.T) {
	dir := nodetest.Dir(t)
	addr, first := withSocket(t, dir, "1")
	p := ensure(t, first)
	later := newKeeper(t, dir, "1") // a daemon that finds the keeper, and did not open its sockets
	later.Files = func() ([]*os.File, error) { return nil, errors.New("it should not ask for new ones") }
	ensure(t, later)
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	ensure(t, later)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	n, err := c.Read(b)
	if got := string(b[:n]); got != "x1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWorkThatFailsIsRunAgain(t *testing.T) {
	dir := nodetest.Dir(t)
	addr, k := withSocket(t, dir, "1")
	ensure(t, k)
	ask := asker(t, addr)
	ask("x")
	send(t, addr, "fail")
	until(t, func() bool { return ask("y") == "y1" })
}

// withSocket is a keeper that answers at an address.
func withSocket(t *testing.T, dir, version string) (string, *keeper.Keeper) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(t, dir, version)
	k.Files = func() ([]*os.File, error) {
		defer c.Close()
		f, err := c.(*net.UDPConn).File()
		return []*os.File{f}, err
	}
	return c.LocalAddr().String(), k
}

// asker sends a text and returns the answer: "" if none came within a second.
func asker(t testing.TB, addr string) func(string) string {
	c, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func(text string) string {
		_, _ = c.Write([]byte(text)) // refused: nobody listens
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		buf := make([]byte, 100)
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
}

func send(t testing.TB, addr, text string) {
	t.Helper()
	c, err := net.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestStrangersAreNotHeard(t *testing.T) {
	nodetest.Root(t)
	dir := nodetest.Dir(t)
	p := ensure(t, newKeeper(t, dir, "1"))
	path := makeFIFO(t, dir, "f")
	for _, name := range []string{dir, keeper.Socket(dir), path} { // so that not only the file's mode keeps them away
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	call := `{"Verb":"hold","Paths":["` + path + `"]}` + "\n"
	if got := say(t, keeper.Socket(dir), 65534, call); got != "" || holds(p.PID, path) {
		t.Errorf("a stranger was answered: %s", got)
	}
	if got := say(t, keeper.Socket(dir), 0, call); !strings.Contains(got, "Version") || !holds(p.PID, path) {
		t.Errorf("root was not answered: %s", got)
	}
}

// say writes to a socket as a user, and returns what comes back.
func say(t *testing.T, socket string, uid int, text string) string {
	t.Helper()
	answer := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // and ends locked: the thread goes, with its user
		defer close(answer)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			t.Error(errno)
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			t.Error(err)
			return
		}
		_, _ = unix.Write(fd, []byte(text)) // it may have hung up
		buf := make([]byte, 1000)
		n, _ := unix.Read(fd, buf)
		answer <- string(buf[:max(n, 0)])
	}()
	return <-answer
}

func TestItRunsInItsCgroup(t *testing.T) {
	nodetest.Root(t)
	tree, err := cgroup.Open()
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(t, nodetest.Dir(t), "1")
	k.Tree, k.Group = tree, nodetest.Group(t, tree)
	if p := ensure(t, k); !tree.Has(k.Group, p.PID) {
		t.Error("it does not")
	}
}

// holds tells whether a process has a file open.
func holds(pid int, path string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path {
			return true
		}
	}
	return false
}

// until polls for what no event tells of.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// BenchmarkMemory says how much memory of its own a keeper has that holds the FIFOs of 110 containers, after a release and a
// hold in each round. This is that of a binary which links little.
func BenchmarkMemory(b *testing.B) {
	dir := nodetest.Dir(b)
	k := newKeeper(b, dir, "1")
	p := ensure(b, k)
	for i := range 220 {
		hold(b, k, makeFIFO(b, dir, fmt.Sprint("f", i)))
	}
	for b.Loop() {
		if err := errors.Join(k.Release(b.Context(), filepath.Join(dir, "f0")), k.Hold(b.Context(), filepath.Join(dir, "f0"))); err != nil {
			b.Fatal(err)
		}
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kib); err == nil {
			b.ReportMetric(kib, "KiB-RssAnon")
		}
	}
}
