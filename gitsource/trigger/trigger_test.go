package trigger

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
)

func TestAnIntervalVariesByATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
		defer cancel()
		start := time.Now()
		var looks []time.Duration
		parts := []time.Duration{0, 1, 2}
		jitter := func(most time.Duration) time.Duration {
			part := parts[0]
			parts = append(parts[1:], part)
			return most * part / 2
		}
		err := Interval(ctx, 20*time.Second, jitter, func() { looks = append(looks, time.Since(start)) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := cmp.Diff([]time.Duration{18 * time.Second, 38 * time.Second, 60 * time.Second}, looks); d != "" {
			t.Error(d)
		}
	})
}

func TestUnrestIsWaitedOutButNotForEver(t *testing.T) {
	now := time.Unix(1000, 0)
	var u unrest
	for _, step := range []struct{ after, want time.Duration }{
		{0, 100 * time.Millisecond}, {50 * time.Millisecond, 100 * time.Millisecond}, {850 * time.Millisecond, 100 * time.Millisecond},
		{60 * time.Millisecond, 40 * time.Millisecond}, {40 * time.Millisecond, 0}, {time.Second, 0},
	} {
		now = now.Add(step.after)
		if got := u.event(now, 100*time.Millisecond, time.Second); got != step.want {
			t.Errorf("after %s: wait %s, want %s", step.after, got, step.want)
		}
	}
}

// watched runs a watcher, and counts its looks.
type watched struct {
	looks atomic.Int64
	woken chan struct{}
}

func watch(t *testing.T, files func(look func()) *Files) *watched {
	t.Helper()
	w := &watched{woken: make(chan struct{}, 1)}
	f := files(func() {
		w.looks.Add(1)
		select {
		case w.woken <- struct{}{}:
		default:
		}
	})
	f.Settle, f.Limit = 10*time.Millisecond, 100*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	w.wait(t, "the look at the start")
	return w
}

// wait waits until something was looked at.
func (w *watched) wait(t *testing.T, what string) {
	t.Helper()
	select {
	case <-w.woken:
	case <-time.After(20 * time.Second):
		t.Fatalf("no look after %s", what)
	}
}

// quiet waits until the looks that are on their way are over.
func (w *watched) quiet(t *testing.T) {
	t.Helper()
	for {
		select {
		case <-w.woken:
		case <-time.After(150 * time.Millisecond):
			return
		}
	}
}

func TestAFolderIsLookedAtWhenSomethingInItChanges(t *testing.T) {
	dir := t.TempDir()
	gittest.Write(t, dir, gittest.Files{"a.yaml": "a", "d/e/b.yaml": "b"})
	w := watch(t, func(look func()) *Files { return Folder(dir, look) })
	steps := []struct {
		name string
		do   func() error
	}{
		{"a write", func() error { return os.WriteFile(dir+"/a.yaml", []byte("x"), 0o644) }},
		{"a write deep inside", func() error { return os.WriteFile(dir+"/d/e/b.yaml", []byte("x"), 0o644) }},
		{"a new file", func() error { return os.WriteFile(dir+"/d/c.yaml", []byte("x"), 0o644) }},
		{"a rename over a file", func() error { return os.Rename(dir+"/d/c.yaml", dir+"/a.yaml") }},
		{"a deletion", func() error { return os.Remove(dir + "/a.yaml") }},
		{"new folders", func() error { return os.MkdirAll(dir+"/n/e/w", 0o755) }},
		{"a file in a new folder", func() error { return os.WriteFile(dir+"/n/e/w/a.yaml", []byte("x"), 0o644) }},
		{"a folder that is gone", func() error { return os.RemoveAll(dir + "/n") }},
	}
	for _, s := range steps {
		w.quiet(t)
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		w.wait(t, s.name)
	}
}

func TestFoldersThatComeAtOnceAreAllWatched(t *testing.T) {
	dir := t.TempDir()
	w := watch(t, func(look func()) *Files { return Folder(dir, look) })
	for i := range 20 { // a watcher that only adds what it is told of misses the inner ones
		inner := filepath.Join(dir, strings.Repeat("n", i+1), "e", "w")
		if err := os.MkdirAll(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		w.wait(t, "a new folder")
		w.quiet(t)
		if err := os.WriteFile(filepath.Join(inner, "a.yaml"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		w.wait(t, "a file in "+inner)
		w.quiet(t)
	}
}

func TestNoiseIsNotLookedAt(t *testing.T) {
	dir := t.TempDir()
	gittest.Write(t, dir, gittest.Files{".git/x": "x"})
	w := watch(t, func(look func()) *Files { return Folder(dir, look) })
	w.quiet(t)
	before := w.looks.Load()
	gittest.Write(t, dir, gittest.Files{"a.yaml~": "x", ".a.yaml.swp": "x", "4913": "x", "#a.yaml#": "x", ".git/index": "x", ".git/new/y": "x"})
	w.quiet(t)
	if n := w.looks.Load() - before; n != 0 {
		t.Errorf("%d looks", n)
	}
	gittest.Write(t, dir, gittest.Files{"a.yaml": "x"})
	w.wait(t, "a file")
}

func TestManyChangesAreFewLooks(t *testing.T) {
	dir := t.TempDir()
	w := watch(t, func(look func()) *Files { return Folder(dir, look) })
	w.quiet(t)
	before := w.looks.Load()
	start := time.Now()
	for range 2000 {
		gittest.Write(t, dir, gittest.Files{"a.yaml": "x"})
	}
	w.wait(t, "a burst")
	w.quiet(t)
	most := int64(time.Since(start)/(10*time.Millisecond)) + 3 // one for each time that it was quiet
	if n := w.looks.Load() - before; n > most {
		t.Errorf("%d looks at 2000 changes, want %d at most", n, most)
	}
}

func TestARepositoryIsLookedAtWhenABranchMoves(t *testing.T) {
	work := gittest.New(t)
	gittest.Commit(t, work, "one", gittest.Files{"a": "1"})
	root := t.TempDir()
	bare := gittest.Bare(t, root, "app.git")
	push := func(args ...string) func() {
		return func() { gittest.Git(t, work, append([]string{"push", "-q", bare}, args...)...) }
	}
	push("main")()
	w := watch(t, func(look func()) *Files { return Repository(bare, look) })
	for _, s := range []struct {
		name string
		do   func()
	}{
		{"a commit", func() { gittest.Commit(t, work, "two", gittest.Files{"a": "2"}); push("main")() }},
		{"a new branch", push("main:dev")},
		{"a branch in a new folder", push("main:team/x")},
		{"a move of that", func() { gittest.Commit(t, work, "three", gittest.Files{"a": "3"}); push("main:team/x")() }},
		{"packed refs", func() { gittest.Git(t, bare, "pack-refs", "--all") }},
		{"a move after that", push("main")},
		{"a deletion", push(":dev")},
	} {
		w.quiet(t)
		s.do()
		w.wait(t, s.name)
	}
}

func TestAFolderThatIsGoneIsPolledUntilItIsBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	gittest.Write(t, dir, gittest.Files{"a.yaml": "x"})
	w := watch(t, func(look func()) *Files {
		f := Folder(dir, look)
		f.Poll, f.Rescan = 20*time.Millisecond, 200*time.Millisecond
		return f
	})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.wait(t, "a poll")
	}
	gittest.Write(t, dir, gittest.Files{"a.yaml": "y"})
	for range 3 {
		w.wait(t, "a look")
	}
}

func TestALimitOfTheKernelIsNamed(t *testing.T) {
	for err, want := range map[error]string{
		&os.PathError{Op: "add", Err: syscall.ENOSPC}: "fs.inotify.max_user_watches", &os.PathError{Op: "init", Err: syscall.EMFILE}: "fs.inotify.max_user_instances",
	} {
		if got := explain(err); !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("got %v", got)
		}
	}
}

// secrets are those of one source, team/app, and of one without.
type secrets struct{}

func (secrets) Secret(namespace, name string) ([]byte, bool) {
	switch namespace + "/" + name {
	case "team/app":
		return []byte("sesame"), true
	case "team/empty":
		return nil, true
	}
	return nil, false
}

func sign(body, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestWebhooks(t *testing.T) {
	body := `{"ref": "refs/heads/main"}`
	tests := []struct {
		name, method, path, header, value string
		status                            int
	}{
		{"as GitHub signs", "POST", "/team/app", "X-Hub-Signature-256", sign(body, "sesame"), 202},
		{"as others sign", "POST", "/team/app", "X-Signature", sign(body, "sesame"), 202},
		{"in capitals", "POST", "/team/app", "X-Signature", "sha256=" + strings.ToUpper(sign(body, "sesame")[7:]), 202},
		{"not signed", "POST", "/team/app", "X-Other", "x", 401},
		{"signed by somebody else", "POST", "/team/app", "X-Signature", sign(body, "other"), 401},
		{"signed for another body", "POST", "/team/app", "X-Signature", sign(body+" ", "sesame"), 401},
		{"half a signature", "POST", "/team/app", "X-Signature", sign(body, "sesame")[:30], 401},
		{"no hexadecimal digits", "POST", "/team/app", "X-Signature", "sha256=xyz", 401},
		{"another kind of signature", "POST", "/team/app", "X-Signature", "sha1=abc", 401},
		{"a source that there is not", "POST", "/team/none", "X-Signature", sign(body, ""), 401},
		{"a source with an empty secret", "POST", "/team/empty", "X-Signature", sign(body, ""), 401},
		{"a GET", "GET", "/team/app", "X-Signature", sign(body, "sesame"), 404},
		{"no source", "POST", "/team", "X-Signature", sign(body, "sesame"), 404},
		{"too long a path", "POST", "/team/app/x", "X-Signature", sign(body, "sesame"), 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var looks []string
			h := &Webhooks{Secrets: secrets{}, Look: func(namespace, name string) { looks = append(looks, namespace+"/"+name) }}
			req := httptest.NewRequest(tt.method, tt.path, strings.NewReader(body))
			req.Header.Set(tt.header, tt.value)
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code != tt.status || (len(looks) == 1) != (tt.status == 202) {
				t.Errorf("status %d and looks %v, want %d", rec.Code, looks, tt.status)
			}
			if strings.Contains(rec.Body.String(), "app") {
				t.Errorf("it tells too much: %s", rec.Body)
			}
		})
	}
}

func TestAWebhookThatIsTooBigIsRefused(t *testing.T) {
	h := &Webhooks{Secrets: secrets{}, Look: func(string, string) { t.Error("looked") }}
	req := httptest.NewRequest(http.MethodPost, "/team/app", bytes.NewReader(make([]byte, maxBody+1)))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", rec.Code)
	}
}

func FuzzWebhook(f *testing.F) {
	f.Add("/team/app", "sha256=00", []byte("{}"))
	f.Add("/team/app", sign("{}", "sesame"), []byte("{}"))
	f.Fuzz(func(t *testing.T, path, signature string, body []byte) {
		looked := false
		h := &Webhooks{Secrets: secrets{}, Look: func(string, string) { looked = true }}
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		req.URL.Path = path
		req.Header.Set("X-Hub-Signature-256", signature)
		h.ServeHTTP(httptest.NewRecorder(), req)
		want := path == "/team/app" || path == "team/app"
		if looked && !(want && strings.EqualFold(signature, sign(string(body), "sesame"))) {
			t.Fatalf("%q was let in", signature)
		}
	})
}
