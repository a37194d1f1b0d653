package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// testHooks are what a test says to pushes, and what it has seen.
type testHooks struct {
	check    func(ctx context.Context, p *Push, progress io.Writer) error
	accepted func(ctx context.Context, p *Push, progress io.Writer)

	mu   sync.Mutex
	seen []string
}

func (h *testHooks) Check(ctx context.Context, p *Push, progress io.Writer) error {
	h.note("check", p)
	if h.check == nil {
		return nil
	}
	return h.check(ctx, p, progress)
}

func (h *testHooks) Accepted(ctx context.Context, p *Push, progress io.Writer) {
	h.note("accepted", p)
	if h.accepted != nil {
		h.accepted(ctx, p, progress)
	}
}

func (h *testHooks) note(what string, p *Push) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range p.Updates {
		h.seen = append(h.seen, what+" "+u.Name)
	}
}

// world is a server with one repository, app, and a working tree whose remote origin it is.
type world struct {
	hooks  *testHooks
	hosted *repo.Hosted
	server *Server
	url    string // of the server
	bare   string // folder of app
	work   string
}

const sesame = "sesame-token"

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	hosted, err := repo.OpenHosted(filepath.Join(t.TempDir(), "repositories"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hosted.Close() })
	app, err := hosted.Create("app")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{hooks: &testHooks{}, hosted: hosted, bare: app.Dir(), work: gittest.New(t)}
	o := Options{Repositories: hosted, Access: Token(sesame), Hooks: w.hooks}
	for _, c := range change {
		c(&o)
	}
	w.server = New(o)
	w.url = gittest.Serve(t, w.server)
	gittest.Git(t, w.work, "remote", "add", "origin", w.remote("app"))
	t.Cleanup(func() { w.checkClean(t) })
	return w
}

func (w *world) remote(name string) string {
	return strings.Replace(w.url, "http://", "http://ada:"+sesame+"@", 1) + "/" + name + ".git"
}

// checkClean checks that the repository is sound, and that nothing was left lying about.
func (w *world) checkClean(t testing.TB) {
	if t.Failed() {
		return
	}
	if _, err := os.Stat(w.bare); err != nil {
		return
	}
	cmd := func(args ...string) string {
		out, err := tryOutside(w.bare, args...)
		if err != nil {
			t.Errorf("git %v: %v\n%s", args, err, out)
		}
		return out
	}
	cmd("fsck", "--full", "--strict")
	for _, pattern := range []string{"quarantine/*", "objects/tmp*", "objects/pack/tmp*", "objects/pack/.tmp*", "refs/heads/*.lock", "refs/tags/*.lock"} {
		if left, _ := filepath.Glob(filepath.Join(w.bare, pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func (w *world) ref(t testing.TB, name string) string {
	t.Helper()
	r, err := w.hosted.Open("app")
	if err != nil {
		t.Fatal(err)
	}
	h, err := r.Ref(name)
	if errors.Is(err, tree.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestAPushArrives(t *testing.T) {
	w := newWorld(t)
	w.hooks.check = func(_ context.Context, p *Push, progress io.Writer) error {
		c, err := p.Commit(p.Updates[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s pushes %q to %s with %v\n", p.User, c.Subject, p.Repository, p.Options)
		return nil
	}
	w.hooks.accepted = func(_ context.Context, p *Push, progress io.Writer) { fmt.Fprintln(progress, "healthy in 0.9s") }
	hash := gittest.Commit(t, w.work, "first", gittest.Files{"a.yaml": "a\n", "b/c.yaml": "c\n"})
	out := gittest.Git(t, w.work, "push", "-o", "no-wait", "-o", "env=prod", "origin", "main")
	for _, want := range []string{`remote: ada pushes "first" to app with [no-wait env=prod]`, "remote: healthy in 0.9s", "[new branch]      main -> main"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	if got := w.ref(t, "refs/heads/main"); got != hash {
		t.Errorf("main is %s, want %s", got, hash)
	}
	if diff := cmp.Diff([]string{"check refs/heads/main", "accepted refs/heads/main"}, w.hooks.seen); diff != "" {
		t.Error(diff)
	}
	if out := gittest.Git(t, w.work, "push", "origin", "main"); !strings.Contains(out, "Everything up-to-date") {
		t.Errorf("got %s", out)
	}
}

func TestAHistoryMayComeBackToWhatItWas(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "first", gittest.Files{"a.yaml": "a\n", "b/c.yaml": "c\n"})
	gittest.Git(t, w.work, "commit", "-q", "--allow-empty", "-m", "nothing new")
	gittest.Commit(t, w.work, "another", gittest.Files{"a.yaml": "b\n"})
	gittest.Git(t, w.work, "revert", "--no-edit", "HEAD")
	gittest.Git(t, w.work, "push", "origin", "main")
}

func TestWhatWasPushedComesBack(t *testing.T) {
	w := newWorld(t)
	first := gittest.Commit(t, w.work, "first", gittest.Files{"a.yaml": "a\n", "b/c.yaml": "c\n"})
	gittest.Git(t, w.work, "tag", "-a", "-m", "one", "v1")
	for i := range 5 {
		gittest.Commit(t, w.work, fmt.Sprint("commit ", i), gittest.Files{"a.yaml": strings.Repeat("x", i+1)})
	}
	gittest.Git(t, w.work, "branch", "dev", first)
	gittest.Git(t, w.work, "push", "-q", "origin", "main", "dev", "v1")
	head := gittest.Git(t, w.work, "rev-parse", "HEAD")
	clone := func(args ...string) string {
		dir := t.TempDir()
		gittest.Git(t, dir, append([]string{"clone", "-q"}, append(args, w.remote("app"), ".")...)...)
		gittest.Git(t, dir, "fsck", "--strict")
		return dir
	}
	for _, depth := range []string{"1", "2", "100"} {
		dir := clone("--depth", depth)
		if got := gittest.Git(t, dir, "rev-parse", "HEAD"); got != head {
			t.Errorf("depth %s: got %s, want %s", depth, got, head)
		}
		if n := gittest.Git(t, dir, "rev-list", "--count", "HEAD"); n != map[string]string{"1": "1", "2": "2", "100": "8"}[depth] {
			t.Errorf("depth %s: %s commits", depth, n)
		}
		gittest.Commit(t, w.work, "more", gittest.Files{"more.yaml": depth})
		gittest.Git(t, w.work, "push", "-q", "origin", "main")
		head = gittest.Git(t, w.work, "rev-parse", "HEAD")
		gittest.Git(t, dir, "pull", "-q")
		gittest.Git(t, dir, "fsck", "--strict")
		if got := gittest.Git(t, dir, "rev-parse", "HEAD"); got != head {
			t.Errorf("depth %s: got %s after pull, want %s", depth, got, head)
		}
		if depth != "100" {
			gittest.Git(t, dir, "fetch", "-q", "--unshallow")
			gittest.Git(t, dir, "fsck", "--strict")
		}
	}
	full := clone()
	if got := gittest.Git(t, full, "rev-parse", "v1^{commit}", "origin/dev"); got != first+"\n"+first {
		t.Errorf("got %s, want %s twice", got, first)
	}
	gittest.Git(t, full, "fetch", "-q", "origin", "dev:mydev")
	gittest.Commit(t, full, "from the clone", gittest.Files{"clone.yaml": "x\n"})
	gittest.Git(t, full, "push", "-q", "origin", "main")
	gittest.Git(t, w.work, "pull", "-q", "origin", "main")
	if diff := cmp.Diff(gittest.Git(t, full, "rev-parse", "HEAD"), gittest.Git(t, w.work, "rev-parse", "HEAD")); diff != "" {
		t.Error(diff)
	}
}

func TestPushesThatAreNotTaken(t *testing.T) {
	two := gittest.Files{"a.yaml": "a\n"}
	tests := []struct {
		name string
		push []string
		prep func(t *testing.T, w *world)
		want string
	}{
		{"main cannot be forced", []string{"--force", "origin", "main"},
			func(t *testing.T, w *world) {
				gittest.Git(t, w.work, "commit", "-q", "--amend", "-m", "amended")
			}, "(this branch is protected: it can only go forward, fetch and merge first)"},
		{"main cannot be deleted", []string{"origin", ":main"}, nil, "(this branch is protected: it cannot be deleted)"},
		{"only branches and tags are taken", []string{"origin", "main:refs/notes/x"}, nil, "neither below refs/heads/ nor refs/tags/"},
		{"a branch must be a commit", []string{"origin", "main^{tree}:refs/heads/tree"}, nil, ""},
		{"a branch cannot be in the folder of another", []string{"origin", "main:refs/heads/main/sub"}, nil, "has the name of one of its folders"},
		{"a branch cannot be the folder of another", []string{"origin", "main:refs/heads/team"},
			func(t *testing.T, w *world) { gittest.Git(t, w.work, "push", "-q", "origin", "main:team/x") }, "is the folder of another"},
		{"a hook says why, on one line", []string{"origin", "main"}, func(t *testing.T, w *world) {
			gittest.Commit(t, w.work, "two", two)
			w.hooks.check = func(context.Context, *Push, io.Writer) error { return errors.New("not on Fridays") }
		}, "! [remote rejected] main -> main (not on Fridays)"},
		{"a hook only wants to be asked", []string{"origin", "main"}, func(t *testing.T, w *world) {
			gittest.Commit(t, w.work, "two", two)
			w.hooks.check = func(_ context.Context, _ *Push, out io.Writer) error {
				fmt.Fprintln(out, "~ Deployment hello/web")
				return ErrDryRun
			}
		}, "! [remote rejected] main -> main (dry run: nothing was accepted)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			gittest.Commit(t, w.work, "zero", gittest.Files{"zero": "0"})
			gittest.Commit(t, w.work, "one", gittest.Files{"one": "1"})
			gittest.Git(t, w.work, "push", "-q", "origin", "main")
			if tt.prep != nil {
				tt.prep(t, w)
			}
			before := gittest.Git(t, w.bare, "for-each-ref")
			objects := gittest.Git(t, w.bare, "count-objects", "-v")
			out := gittest.Fails(t, w.work, append([]string{"push"}, tt.push...)...)
			if !strings.Contains(out, tt.want) {
				t.Errorf("want %q in\n%s", tt.want, out)
			}
			if diff := cmp.Diff(before, gittest.Git(t, w.bare, "for-each-ref")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(objects, gittest.Git(t, w.bare, "count-objects", "-v")); diff != "" {
				t.Errorf("objects were stored: %s", diff)
			}
		})
	}
}

func TestAHookMayHaveALotToSay(t *testing.T) {
	w := newWorld(t)
	w.hooks.check = func(context.Context, *Push, io.Writer) error {
		return errors.New("2 errors in 1 of 6 manifests\napps/b.yaml:3: unknown field \x1b[31mspec.foo\napps/b.yaml:9: the port is too big")
	}
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	out := gittest.Fails(t, w.work, "push", "origin", "main")
	for _, want := range []string{
		"remote: 2 errors in 1 of 6 manifests", "remote: apps/b.yaml:3: unknown field ?[31mspec.foo", "remote: apps/b.yaml:9: the port is too big",
		"! [remote rejected] main -> main (2 errors in 1 of 6 manifests)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%q", want, out)
		}
	}
}

func TestARefusedRefTakesTheOthersAlongOnlyIfAtomic(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		for _, by := range []string{"policy", "hook", "lock"} {
			t.Run(fmt.Sprintf("atomic %v, refused by %s", atomic, by), func(t *testing.T) {
				w := newWorld(t)
				gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
				bad := "bad"
				switch by {
				case "policy":
					bad = "refs/notes/bad"
				case "hook":
					w.hooks.check = func(context.Context, *Push, io.Writer) error {
						return Refusals{"refs/heads/bad": errors.New("not this one")}
					}
				case "lock":
					gittest.Git(t, w.work, "push", "-q", "origin", "main:bad/sub")
				}
				args := []string{"push", "origin", "main:good", "main:" + bad}
				if atomic {
					args = slices.Insert(args, 1, "--atomic")
				}
				out := gittest.Fails(t, w.work, args...)
				if got := w.ref(t, "refs/heads/good") != ""; got == atomic {
					t.Errorf("good is there: %v\n%s", got, out)
				}
				if atomic && !strings.Contains(out, "atomic push failed") && !strings.Contains(out, "atomic push failure") {
					t.Errorf("got %s", out)
				}
			})
		}
	}
}

func TestBranchesAndTagsComeAndGo(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	gittest.Git(t, w.work, "tag", "-a", "-m", "x", "v1")
	gittest.Git(t, w.work, "push", "-q", "origin", "main", "main:team/a", "main:team/b", "v1", "main:refs/tags/light")
	gittest.Git(t, w.bare, "pack-refs", "--all")
	gittest.Git(t, w.work, "commit", "-q", "--amend", "-m", "amended")
	gittest.Git(t, w.work, "push", "-q", "--force", "origin", "main:team/a")
	if got, want := w.ref(t, "refs/heads/team/a"), gittest.Git(t, w.work, "rev-parse", "HEAD"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	gittest.Git(t, w.work, "push", "-q", "origin", ":team/a", ":team/b", ":v1", ":refs/tags/light")
	if got := gittest.Git(t, w.bare, "for-each-ref", "--format=%(refname)"); got != "refs/heads/main" {
		t.Errorf("got %s", got)
	}
	gittest.Git(t, w.work, "push", "-q", "origin", "main:refs/heads/team") // its folder is gone
	out := gittest.Fails(t, w.work, "push", "origin", ":nowhere")
	if !strings.Contains(out, "nowhere") {
		t.Errorf("got %s", out)
	}
}

func TestOfSimultaneousPushesToOneBranchOneWins(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	gittest.Git(t, w.work, "push", "-q", "origin", "main")
	const n = 4
	var arrived sync.WaitGroup
	arrived.Add(n)
	w.hooks.check = func(context.Context, *Push, io.Writer) error {
		arrived.Done()
		arrived.Wait() // all of them have seen the same old value
		return nil
	}
	outs := make([]string, n)
	errs := make([]error, n)
	clones := make([]string, n)
	for i := range n {
		clones[i] = t.TempDir()
		gittest.Git(t, clones[i], "clone", "-q", w.remote("app"), ".")
		gittest.Commit(t, clones[i], "mine", gittest.Files{"mine.yaml": fmt.Sprint(i)})
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { outs[i], errs[i] = gittest.Try(t, clones[i], "push", "origin", "main") })
	}
	wg.Wait()
	won := 0
	for i := range n {
		if errs[i] == nil {
			won++
			if got, want := w.ref(t, "refs/heads/main"), gittest.Git(t, clones[i], "rev-parse", "HEAD"); got != want {
				t.Errorf("main is %s, want the winner's %s", got, want)
			}
		} else if !strings.Contains(outs[i], "somebody else has pushed meanwhile") {
			t.Errorf("got %s", outs[i])
		}
	}
	if won != 1 {
		t.Errorf("%d pushes have won:\n%s", won, strings.Join(outs, "\n"))
	}
}

func TestSimultaneousPushesToSeveralBranchesAllArrive(t *testing.T) {
	w := newWorld(t)
	const n = 6
	var wg sync.WaitGroup
	for i := range n {
		dir := gittest.New(t)
		gittest.Commit(t, dir, "mine", gittest.Files{"mine.yaml": fmt.Sprint(i)})
		wg.Go(func() {
			if out, err := gittest.Try(t, dir, "push", w.remote("app"), fmt.Sprintf("main:b%d", i)); err != nil {
				t.Error(out)
			}
		})
	}
	wg.Wait()
	for i := range n {
		if w.ref(t, fmt.Sprintf("refs/heads/b%d", i)) == "" {
			t.Errorf("branch %d is not there", i)
		}
	}
}

func TestBigPushesArriveToo(t *testing.T) {
	w := newWorld(t)
	files := gittest.Files{"large.bin": strings.Repeat("0123456789abcdef", 1<<18)}
	for i := range 300 {
		files[fmt.Sprintf("dir%d/f%d.yaml", i%7, i)] = fmt.Sprintf("content of %d\n", i)
	}
	w.hooks.check = func(_ context.Context, p *Push, _ io.Writer) error {
		rd, err := p.Reader()
		if err != nil {
			return err
		}
		defer rd.Close()
		c, err := p.Commit(p.Updates[0])
		if err != nil {
			return err
		}
		n := 0
		for _, err := range tree.Diff(rd, tree.Side{}, tree.Side{Tree: c.Tree}) {
			if err != nil {
				return err
			}
			n++
		}
		if n != len(files) {
			return fmt.Errorf("%d files", n)
		}
		return nil
	}
	w.hooks.accepted = readable(t)
	gittest.Commit(t, w.work, "big", files)
	gittest.Git(t, w.work, "-c", "http.postBuffer=65536", "push", "-q", "origin", "main") // in pieces, after a probe
	clone := t.TempDir()
	gittest.Git(t, clone, "clone", "-q", w.remote("app"), ".")
	files["more.yaml"] = "more\n"
	gittest.Commit(t, clone, "more", gittest.Files{"more.yaml": "more\n"})
	gittest.Git(t, clone, "push", "-q", "origin", "main")
	gittest.Git(t, w.work, "pull", "-q", "origin", "main")
}

func TestAPushOverTheLimitIsReadToItsEndSoThatTheReasonIsShown(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Limits = repo.DefaultLimits()
		o.Limits.Pack = 64 << 10
	})
	rng := rand.NewChaCha8([32]byte{})
	noise := make([]byte, 8<<20)
	rng.Read(noise)
	gittest.Commit(t, w.work, "large", gittest.Files{"large.bin": string(noise)})
	out := gittest.Fails(t, w.work, "push", "origin", "main")
	if !strings.Contains(out, "over the limit: the pack has more than 65536 bytes") {
		t.Errorf("got %s", out)
	}
}

// readable checks that what was accepted can be read.
func readable(t *testing.T) func(context.Context, *Push, io.Writer) {
	return func(_ context.Context, p *Push, _ io.Writer) {
		if _, err := p.Commit(p.Updates[0]); err != nil {
			t.Error(err)
		}
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	for _, login := range []string{"", "ada:wrong@", "ada:@"} {
		url := strings.Replace(w.url, "http://", "http://"+login, 1) + "/app.git"
		out := gittest.Fails(t, w.work, "push", url, "main")
		if login == "ada:wrong@" && !strings.Contains(out, "remote: The token is not right") {
			t.Errorf("got %s", out)
		}
	}
	out := gittest.Git(t, w.work, "-c", "http.extraHeader=Authorization: Bearer "+sesame, "push", w.url+"/app.git", "main")
	if !strings.Contains(out, "[new branch]") {
		t.Errorf("got %s", out)
	}
	out = gittest.Fails(t, w.work, "push", w.remote("nosuch"), "main")
	if !strings.Contains(out, `remote: There is no repository "nosuch". `+"`mainstay remote add` makes one. There is: app.") {
		t.Errorf("got %s", out)
	}
	out = gittest.Fails(t, w.work, "clone", strings.TrimSuffix(w.remote("app"), "app.git"), "x")
	if !strings.Contains(out, "remote: There is no Git repository at this address") {
		t.Errorf("got %s", out)
	}
}

func TestACallerWhoMayOnlyReadCannotPush(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Access = readers{} })
	gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	gittest.Git(t, w.work, "ls-remote", "origin")
	out := gittest.Fails(t, w.work, "push", "origin", "main")
	if !strings.Contains(out, "remote: ada may not do this in the repository app.") {
		t.Errorf("got %s", out)
	}
}

type readers struct{}

func (readers) Login(_ context.Context, user, _ string) (string, bool)     { return user, true }
func (readers) May(_ context.Context, _ string, _ string, write bool) bool { return !write }
