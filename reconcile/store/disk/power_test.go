package disk

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// powerRounds cuts the power: a child writes to ext4 in a loop file, and after an acknowledgement that file is copied. The
// copy has only what was synced: what the child wrote beyond that is in the memory of the mount.
func powerRounds(t *testing.T, rounds int) (v verdict) {
	dir, r := t.TempDir(), storetest.Rand(t)
	image, mounted := filepath.Join(dir, "image"), filepath.Join(dir, "mounted")
	shell(t, "truncate -s 700M %s && mkfs.ext4 -q %s && mkdir %s", image, image, mounted)
	device := mountLoop(t, image, mounted)
	seed, m, seen := r.Uint64(), storetest.NewModel(), counts{}
	w := startWriter(t, filepath.Join(mounted, "store"), seed)
	beyond := 0
	for range rounds {
		w.more(t, 2+r.IntN(12), rand.N(30*time.Millisecond))
		acked := w.stopped(t)
		copied := filepath.Join(dir, "copied")
		copyStill(t, image, copied, device)
		if err := w.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, "after")
		shell(t, "mkdir -p %s", at)
		mountLoop(t, copied, at)
		v.judge(t, verify(filepath.Join(at, "store"), seed, mixed, m, acked, seen))
		shell(t, "umount %s", at)
		if !v.clean() {
			break
		}
		if m.Revision > acked {
			beyond++
		}
	}
	w.kill(t)
	shell(t, "umount %s", mounted)
	v.note("ext4, up to revision %d", m.Revision)
	v.note("%d times more there than acknowledged", beyond)
	v.note("%d finished, %d swept", seen["finished"], seen["removed"])
	return v
}

func shell(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf(format, args...)).CombinedOutput()
	if err != nil {
		t.Fatalf(format+": %v: %s", append(args, err, out)...)
	}
	return strings.TrimSpace(string(out))
}

// mountLoop mounts a file, and returns its device, which goes with the mount.
func mountLoop(t *testing.T, file, at string) string {
	t.Helper()
	device := shell(t, "losetup -f --show %s", file)
	shell(t, "mount %s %s; r=$?; losetup -d %s; exit $r", device, at, device)
	return filepath.Base(device)
}

// copyStill copies the file of a loop device, again if something was written to it meanwhile.
func copyStill(t *testing.T, from, to, device string) {
	t.Helper()
	for range 50 {
		before := written(t, device)
		shell(t, "cp --sparse=always %s %s", from, to)
		if written(t, device) == before {
			return
		}
	}
	t.Fatal("the device never rests")
}

// written is what a block device counts of its writes: how many, merged, sectors, and those under way.
func written(t *testing.T, device string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/block", device, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b))
	return strings.Join([]string{f[4], f[5], f[6], f[8]}, " ")
}

// A writer is a child that goes on writing.
type writer struct {
	cmd   *exec.Cmd
	acked atomic.Uint64
	lines chan struct{} // one for each acknowledgement
	ended chan struct{}
}

func startWriter(t *testing.T, dir string, seed uint64) *writer {
	t.Helper()
	w := &writer{cmd: self("write", dir, seed), lines: make(chan struct{}, 1<<20), ended: make(chan struct{})}
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			if n, err := strconv.ParseUint(s.Text(), 10, 64); err == nil {
				w.acked.Store(n)
				w.lines <- struct{}{}
			}
		}
	}()
	return w
}

// more waits for n more acknowledgements, and then for d, within which anything may happen.
func (w *writer) more(t *testing.T, n int, d time.Duration) {
	t.Helper()
	for range n {
		select {
		case <-w.lines:
		case <-w.ended:
			t.Fatal("the child ended")
		}
	}
	select {
	case <-time.After(d):
	case <-w.ended:
		t.Fatal("the child ended")
	}
}

// stopped stops the child, and returns what it has acknowledged at least.
func (w *writer) stopped(t *testing.T) store.Revision {
	t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for len(w.lines) > 0 {
		<-w.lines
	}
	return store.Revision(w.acked.Load())
}

func (w *writer) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.ended
	_ = w.cmd.Wait() // it was killed
}
