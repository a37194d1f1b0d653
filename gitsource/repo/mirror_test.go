package repo

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// remoteRepo is a working tree, and a bare repository behind git http-backend that it pushes to.
type remoteRepo struct {
	work, bare, url string
	requests        *[]string
}

func newRemote(t *testing.T) remoteRepo {
	t.Helper()
	root := t.TempDir()
	r := remoteRepo{work: gittest.New(t), bare: gittest.Bare(t, root, "app.git"), requests: new([]string)}
	backend := gittest.Backend(t, root)
	r.url = gittest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		*r.requests = append(*r.requests, req.Method+" "+req.URL.Path)
		backend.ServeHTTP(w, req)
	})) + "/app.git"
	return r
}

func (r remoteRepo) commit(t *testing.T, message string, files gittest.Files) string {
	t.Helper()
	h := gittest.Commit(t, r.work, message, files)
	r.push(t)
	return h
}

func (r remoteRepo) push(t *testing.T) {
	t.Helper()
	gittest.Git(t, r.work, "push", "-q", "--force", r.bare, "--all")
	gittest.Git(t, r.work, "push", "-q", "--force", r.bare, "--tags")
}

func openMirror(t *testing.T, remote Remote) *Mirror {
	t.Helper()
	m, err := OpenMirror(t.TempDir(), remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func fetch(t *testing.T, m *Mirror) Commit {
	t.Helper()
	c, err := m.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readAll returns the content of each file of a commit.
func readAll(t *testing.T, o tree.Objects, root tree.Hash) gittest.Files {
	t.Helper()
	files := gittest.Files{}
	for c, err := range tree.Diff(o, tree.Side{}, tree.Side{Tree: root}) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := o.Blob(c.New.Hash)
		if err != nil {
			t.Fatal(err)
		}
		files[c.Path] = string(data)
	}
	return files
}

func mirrored(t *testing.T, m *Mirror, c Commit) gittest.Files {
	t.Helper()
	rd, err := m.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	return readAll(t, rd, c.Tree)
}

func TestAMirrorHasWhatTheRemoteHas(t *testing.T) {
	r := newRemote(t)
	want := gittest.Files{"a.yaml": "a\n", "dir/b.yaml": "b\n", "dir/deep/c.yaml": "c\n"}
	hash := r.commit(t, "First subject\n\nand more", want)
	m := openMirror(t, Remote{URL: r.url})
	c := fetch(t, m)
	if c.Hash.String() != hash || c.Subject != "First subject" || c.Author != "Ada <ada@example.com>" {
		t.Errorf("got %+v, want commit %s", c, hash)
	}
	if time.Since(c.Time) > time.Hour {
		t.Errorf("the commit is from %s", c.Time)
	}
	if diff := cmp.Diff(want, mirrored(t, m, c)); diff != "" {
		t.Error(diff)
	}
}

func TestAFetchOfNothingNewIsOneRequest(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	m := openMirror(t, Remote{URL: r.url})
	first := fetch(t, m)
	*r.requests = nil
	if second := fetch(t, m); second.Hash != first.Hash {
		t.Errorf("got %s, want %s", second.Hash, first.Hash)
	}
	if diff := cmp.Diff([]string{"GET /app.git/info/refs"}, *r.requests); diff != "" {
		t.Error(diff)
	}
}

func TestAMirrorIsRightWhateverTheRemoteDoes(t *testing.T) {
	base := gittest.Files{"a.yaml": "one\n", "b/b.yaml": "b\n", "c.yaml": "c\n"}
	tests := []struct {
		name string
		then func(t *testing.T, r remoteRepo)
	}{
		{"a file changes", func(t *testing.T, r remoteRepo) {
			gittest.Commit(t, r.work, "change", gittest.Files{"a.yaml": "two\n"})
		}},
		{"a file goes back to what it was before the mirror was made", func(t *testing.T, r remoteRepo) {
			gittest.Commit(t, r.work, "back", gittest.Files{"a.yaml": "zero\n"})
		}},
		{"a branch from before the mirror was made is merged", func(t *testing.T, r remoteRepo) {
			gittest.Git(t, r.work, "checkout", "-q", "-b", "old", "HEAD~1")
			gittest.Commit(t, r.work, "on old", gittest.Files{"old.yaml": "old\n"})
			gittest.Git(t, r.work, "checkout", "-q", "main")
			gittest.Git(t, r.work, "merge", "-q", "--no-edit", "old")
		}},
		{"the branch is forced to an older commit", func(t *testing.T, r remoteRepo) {
			gittest.Git(t, r.work, "reset", "-q", "--hard", "HEAD~1")
		}},
		{"the branch is forced to a history of its own", func(t *testing.T, r remoteRepo) {
			gittest.Git(t, r.work, "checkout", "-q", "--orphan", "other")
			gittest.Commit(t, r.work, "other", gittest.Files{"x.yaml": "x\n"})
			gittest.Git(t, r.work, "branch", "-M", "other", "main")
		}},
		{"everything is deleted", func(t *testing.T, r remoteRepo) {
			gittest.Commit(t, r.work, "empty", gittest.Files{"a.yaml": "", "b": "", "c.yaml": ""})
		}},
		{"a file becomes a folder", func(t *testing.T, r remoteRepo) {
			gittest.Write(t, r.work, gittest.Files{"a.yaml": ""})
			gittest.Commit(t, r.work, "folder", gittest.Files{"a.yaml/in.yaml": "in\n"})
		}},
		{"the commit is amended without another tree", func(t *testing.T, r remoteRepo) {
			gittest.Git(t, r.work, "commit", "-q", "--amend", "-m", "amended")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRemote(t)
			r.commit(t, "zero", gittest.Files{"a.yaml": "zero\n", "b/b.yaml": "b\n"})
			r.commit(t, "one", base)
			m := openMirror(t, Remote{URL: r.url})
			fetch(t, m)
			for i := range 3 { // and it stays right
				if i == 0 {
					tt.then(t, r)
				} else {
					gittest.Commit(t, r.work, "more", gittest.Files{"more.yaml": fmt.Sprint(i)})
				}
				r.push(t)
				c := fetch(t, m)
				if want := gittest.Git(t, r.work, "rev-parse", "HEAD"); c.Hash.String() != want {
					t.Fatalf("got %s, want %s", c.Hash, want)
				}
				clone := t.TempDir()
				gittest.Git(t, clone, "clone", "-q", r.bare, ".")
				if diff := cmp.Diff(worktree(t, clone), mirrored(t, m, c)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// worktree returns the content of each file in a folder.
func worktree(t *testing.T, dir string) gittest.Files {
	t.Helper()
	files := gittest.Files{}
	for _, name := range strings.Split(gittest.Git(t, dir, "ls-files"), "\n") {
		if name == "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

func TestAMirrorFollowsBranchesTagsAndCommits(t *testing.T) {
	r := newRemote(t)
	first := r.commit(t, "first", gittest.Files{"a.yaml": "1\n"})
	gittest.Git(t, r.work, "tag", "light")
	gittest.Git(t, r.work, "tag", "-a", "-m", "annotated", "v1")
	second := r.commit(t, "second", gittest.Files{"a.yaml": "2\n"})
	gittest.Git(t, r.work, "branch", "team/dev", first)
	r.push(t)
	third := r.commit(t, "third", gittest.Files{"a.yaml": "3\n"})
	tests := []struct {
		rev  Rev
		want string
	}{
		{Rev{}, third},
		{Rev{Branch: "main"}, third},
		{Rev{Branch: "team/dev"}, first},
		{Rev{Tag: "light"}, first},
		{Rev{Tag: "v1"}, first},
		{Rev{Commit: third}, third},
		{Rev{Commit: first}, first},
		{Rev{Commit: second}, second}, // no tip: this server wants all history fetched for it
	}
	for _, tt := range tests {
		t.Run(tt.rev.String(), func(t *testing.T) {
			m := openMirror(t, Remote{URL: r.url, Rev: tt.rev})
			for range 2 {
				c := fetch(t, m)
				if c.Hash.String() != tt.want {
					t.Errorf("got %s, want %s", c.Hash, tt.want)
				}
				if len(mirrored(t, m, c)) != 1 {
					t.Error("want one file")
				}
			}
		})
	}
}

func TestWhatIsWrongWithARemoteIsSaidInWords(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	gittest.Git(t, r.work, "branch", "dev")
	r.push(t)
	root := filepath.Dir(r.bare)
	gittest.Bare(t, root, "empty.git")
	sha256 := filepath.Join(root, "sha256.git")
	if err := os.Mkdir(sha256, 0o755); err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, sha256, "init", "-q", "--object-format=sha256", "-b", "main")
	gittest.Commit(t, sha256, "one", gittest.Files{"a.yaml": "a\n"})
	site := strings.TrimSuffix(r.url, "/app.git")
	page := gittest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>log in</html>")) }))
	locked := gittest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	tests := []struct {
		name   string
		remote Remote
		want   error
		text   string
	}{
		{"the branch is not there", Remote{URL: r.url, Rev: Rev{Branch: "mian"}}, ErrNoRef, "branch mian; there are dev, main"},
		{"the tag is not there", Remote{URL: r.url, Rev: Rev{Tag: "v1"}}, ErrNoRef, "tag v1; there is none at all"},
		{"the commit is not there", Remote{URL: r.url, Rev: Rev{Commit: strings.Repeat("ab", 20)}}, tree.ErrNotFound, "abababa"},
		{"the repository is empty", Remote{URL: site + "/empty.git"}, ErrEmpty, "push a first commit"},
		{"the repository is not there", Remote{URL: site + "/none.git"}, ErrNoRemote, "no repository there"},
		{"the repository names objects by SHA-256", Remote{URL: site + "/sha256.git"}, ErrUnsupported, "SHA-256"},
		{"the server answers with a page", Remote{URL: page + "/x.git"}, ErrNoRemote, "not as Git does"},
		{"the server wants a login", Remote{URL: locked + "/x.git"}, ErrAuth, "none is set"},
		{"the server does not take the login", Remote{URL: locked + "/x.git", Auth: Credentials{Token: "sesame"}}, ErrAuth, "does not take the login"},
		{"nobody listens", Remote{URL: "http://127.0.0.1:1/x.git"}, nil, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openMirror(t, tt.remote).Fetch(t.Context())
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestPasswordsAreInNoError(t *testing.T) {
	refused := "127.0.0.1:1/x.git"
	for _, remote := range []Remote{
		{URL: "http://user:sesame@" + refused},
		{URL: "http://" + refused, Auth: Credentials{Username: "user", Password: "sesame"}},
		{URL: "http://" + refused, Auth: Credentials{Token: "sesame"}},
		{URL: "http://user:sesame@bad host/x"},
		{URL: "ftp://user:sesame@host/x"},
		{URL: "http://user:sesame@host"},
	} {
		m, err := OpenMirror(t.TempDir(), remote)
		if err == nil {
			_, err = m.Fetch(t.Context())
		}
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("got %v", err)
		}
	}
}

func TestALoginIsSentToItsServerOnly(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	root := filepath.Dir(r.bare)
	backend := gittest.Backend(t, root)
	var elsewhere []string
	other := gittest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		elsewhere = append(elsewhere, req.Method+" "+req.Header.Get("Authorization"))
		backend.ServeHTTP(w, req)
	}))
	own := gittest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, pass, _ := req.BasicAuth(); user != "git" || pass != "sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, req, other+req.URL.String(), http.StatusFound)
	}))
	m := openMirror(t, Remote{URL: own + "/app.git", Auth: Credentials{Token: "sesame"}})
	fetch(t, m)
	if diff := cmp.Diff([]string{"GET ", "POST "}, elsewhere); diff != "" {
		t.Error(diff)
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	url := gittest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		w.(http.Flusher).Flush()
		<-release
	}))
	defer close(release)
	m := openMirror(t, Remote{URL: url + "/x.git", Idle: 50 * time.Millisecond})
	_, err := m.Fetch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "has sent nothing for 50ms") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Fetch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the caller gave up", err)
	}
}

func TestADamagedMirrorIsFetchedAnew(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n", "b/b.yaml": "b\n"})
	dir := t.TempDir()
	m, err := OpenMirror(dir, Remote{URL: r.url})
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, m)
	m.Close()
	packs, _ := filepath.Glob(filepath.Join(dir, "1/objects/pack/*"))
	if len(packs) != 2 {
		t.Fatalf("want a pack and its index, got %v", packs)
	}
	for _, p := range packs {
		os.Chmod(p, 0o644)
		if err := os.WriteFile(p, []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if m, err = OpenMirror(dir, Remote{URL: r.url}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c := fetch(t, m)
	if got := mirrored(t, m, c); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestAMirrorOutlivesItsProcess(t *testing.T) {
	r := newRemote(t)
	first := r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	dir := t.TempDir()
	m, err := OpenMirror(dir, Remote{URL: r.url})
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, m)
	m.Close()
	if err := os.MkdirAll(filepath.Join(dir, "2/objects"), 0o755); err != nil { // left by a fetch that was killed
		t.Fatal(err)
	}
	if m, err = OpenMirror(dir, Remote{URL: r.url}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	*r.requests = nil
	if c := fetch(t, m); c.Hash.String() != first || len(*r.requests) != 1 {
		t.Errorf("got %s by %v", c.Hash, *r.requests)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("got %v, want one folder", left)
	}
}

func TestAReaderMayGoOnWhileTheMirrorIsMadeAnew(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	m := openMirror(t, Remote{URL: r.url})
	c := fetch(t, m)
	rd, err := m.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Forget(); err != nil {
		t.Fatal(err)
	}
	fetch(t, m)
	if got := readAll(t, rd, c.Tree); got["a.yaml"] != "a\n" {
		t.Errorf("got %v", got)
	}
	rd.Close()
	if left, _ := filepath.Glob(filepath.Join(m.dir, "*")); len(left) != 1 {
		t.Errorf("got %v, want one folder", left)
	}
}

func TestAMirrorTakesAChangeOfManyFiles(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	m := openMirror(t, Remote{URL: r.url})
	fetch(t, m)
	files := gittest.Files{}
	for i := range maxAdvance + 100 {
		files[fmt.Sprintf("d%d/f%d.yaml", i%10, i)] = fmt.Sprint(i)
	}
	r.commit(t, "many", files)
	if got := mirrored(t, m, fetch(t, m)); len(got) != len(files)+1 {
		t.Errorf("%d files", len(got))
	}
	if loose, _ := filepath.Glob(filepath.Join(m.dir, "*/objects/[0-9a-f][0-9a-f]/*")); len(loose) > 0 {
		t.Errorf("%d objects have a file each", len(loose))
	}
}

func TestAServersCertificateMayBeSignedByAnAuthorityOfOnesOwn(t *testing.T) {
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	backend := gittest.Backend(t, filepath.Dir(r.bare))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, pass, _ := req.BasicAuth(); user != "ada" || pass != "sesame" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		backend.ServeHTTP(w, req)
	}))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	login := Credentials{Username: "ada", Password: "sesame", CA: ca}
	fetch(t, openMirror(t, Remote{URL: s.URL + "/app.git", Auth: login}))
	fetch(t, openMirror(t, Remote{URL: strings.Replace(s.URL, "https://", "https://ada:sesame@", 1) + "/app.git", Auth: Credentials{CA: ca}}))
	login.CA = nil
	if _, err := openMirror(t, Remote{URL: s.URL + "/app.git", Auth: login}).Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	if _, err := openMirror(t, Remote{URL: s.URL + "/app.git", Auth: Credentials{CA: ca}}).Fetch(t.Context()); !errors.Is(err, ErrAuth) {
		t.Errorf("got %v", err)
	}
	if _, err := OpenMirror(t.TempDir(), Remote{URL: s.URL + "/app.git", Auth: Credentials{CA: []byte("rubbish")}}); err == nil {
		t.Error("want that the bundle is refused")
	}
}

func FuzzAdvertisement(f *testing.F) {
	hash := strings.Repeat("ab", 20)
	f.Add([]byte("001e# service=git-upload-pack\n0000" + fmt.Sprintf("%04x%s HEAD\x00side-band-64k\n", 4+40+6+14, hash) + "0000"))
	f.Add([]byte("0036" + "ERR no such repository" + "0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ad, err := readAdvertisement(bytes.NewReader(data))
		if err == nil && len(ad.refs) == 0 {
			t.Fatal("an empty repository was taken")
		}
		ad.resolve(Rev{})
	})
}
