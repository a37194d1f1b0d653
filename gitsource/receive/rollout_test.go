package receive

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
)

func TestAClientThatLeavesDuringTheRolloutHasPushedAllTheSame(t *testing.T) {
	w := newWorld(t)
	ended := make(chan error, 1)
	w.hooks.accepted = func(ctx context.Context, _ *Push, progress io.Writer) {
		fmt.Fprintln(progress, "0/3 ready")
		<-ctx.Done()
		ended <- ctx.Err()
	}
	hash := gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.pushAndLeave(t, ctx, cancel)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the hook was not told that the client has left")
	}
	if got := w.ref(t, "refs/heads/main"); got != hash {
		t.Errorf("main is %q, want %s", got, hash)
	}
}

// pushAndLeave pushes, and ends the client when the first progress of the rollout comes.
func (w *world) pushAndLeave(t *testing.T, ctx context.Context, leave func()) {
	t.Helper()
	cmd := gitCommand(ctx, w.work, "push", "--progress", "origin", "main")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 1000)
	for !strings.Contains(said.String(), "0/3 ready") {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v after %s", err, said.String())
		}
	}
	leave()
	io.Copy(io.Discard, out)
	cmd.Wait()
}

func TestAClientThatLeavesDuringTheCheckHasPushedNothing(t *testing.T) {
	w := newWorld(t)
	done := make(chan struct{})
	w.hooks.check = func(ctx context.Context, _ *Push, progress io.Writer) error {
		defer close(done)
		fmt.Fprintln(progress, "0/3 ready")
		<-ctx.Done()
		return nil
	}
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.pushAndLeave(t, ctx, cancel)
	<-done
	waitFor(t, func() bool { return len(w.server.slots) == 0 })
	if got := w.ref(t, "refs/heads/main"); got != "" {
		t.Errorf("main is %s", got)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in time")
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestASilentRolloutShowsSignsOfLife(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Keepalive = 20 * time.Millisecond })
	w.hooks.accepted = func(_ context.Context, _ *Push, progress io.Writer) {
		<-time.After(300 * time.Millisecond)
		fmt.Fprintln(progress, "healthy at last")
	}
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	if out := gittest.Git(t, w.work, "push", "origin", "main"); !strings.Contains(out, "remote: healthy at last") {
		t.Errorf("got %s", out)
	}
}

func TestAShallowCloneThatIsPushedElsewhereIsToldToCompleteItself(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	gittest.Commit(t, w.work, "two", gittest.Files{"a.yaml": "b\n"})
	gittest.Git(t, w.work, "push", "-q", "origin", "main")
	dir := t.TempDir()
	gittest.Git(t, dir, "clone", "-q", "--depth=1", w.remote("app"), ".")
	if _, err := w.hosted.Create("other"); err != nil {
		t.Fatal(err)
	}
	out := gittest.Fails(t, dir, "push", w.remote("other"), "main")
	if !strings.Contains(out, "git fetch --unshallow") {
		t.Errorf("got %s", out)
	}
	gittest.Commit(t, dir, "three", gittest.Files{"a.yaml": "c\n"}) // where its past is known it may push
	gittest.Git(t, dir, "push", "-q", "origin", "main")
}
