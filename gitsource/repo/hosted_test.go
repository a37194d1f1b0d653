package repo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

func openHosted(t testing.TB, dir string) *Hosted {
	t.Helper()
	h, err := OpenHosted(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func TestHostedRepositoriesComeAndGo(t *testing.T) {
	h := openHosted(t, t.TempDir())
	for _, name := range []string{"b", "a-1"} {
		if _, err := h.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Create("b"); !errors.Is(err, ErrExists) {
		t.Errorf("got %v, want that it exists", err)
	}
	names, err := h.List()
	if diff := cmp.Diff([]string{"a-1", "b"}, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := h.Delete("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Open("b"); !errors.Is(err, tree.ErrNotFound) {
		t.Errorf("got %v, want that it is gone", err)
	}
	if err := h.Delete("b"); !errors.Is(err, tree.ErrNotFound) {
		t.Errorf("got %v, want that it is gone", err)
	}
	if _, err := h.Create("b"); err != nil {
		t.Error(err)
	}
}

func TestNamesThatLeadElsewhereAreNone(t *testing.T) {
	dir := t.TempDir()
	h := openHosted(t, filepath.Join(dir, "in"))
	for _, name := range []string{"", ".", "..", "../x", "a/b", "a\\b", "/etc", "A", "a.git", "-a", "a-", "a\x00b", "ü", strings.Repeat("a", 64), "a b"} {
		if _, err := h.Create(name); !errors.Is(err, ErrName) {
			t.Errorf("create %q: got %v", name, err)
		}
		if _, err := h.Open(name); !errors.Is(err, tree.ErrNotFound) {
			t.Errorf("open %q: got %v", name, err)
		}
		if err := h.Delete(name); !errors.Is(err, tree.ErrNotFound) {
			t.Errorf("delete %q: got %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("got %v", left)
	}
}

func TestWhatAKilledProcessHasLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	h := openHosted(t, dir)
	r, err := h.Create("app")
	if err != nil {
		t.Fatal(err)
	}
	before := listing(t, r.Dir())
	gittest.Write(t, r.Dir(), gittest.Files{
		"quarantine/push-1/objects/pack/pack-x.pack": "x", "quarantine/tmp_pack_1": "x", "objects/pack/tmp_pack_1": "x", "objects/pack/.tmp-1": "x",
		"objects/pack/pack-0123456789012345678901234567890123456789.idx": "x", "refs/heads/main.lock": "x", "refs/heads/team/x.lock": "x", ".tmp-2": "x",
	})
	h.Close()
	openHosted(t, dir)
	after := slices.DeleteFunc(listing(t, r.Dir()), func(p string) bool { return strings.HasSuffix(p, "refs/heads/team") })
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error { all = append(all, p); return err })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pushInto moves a commit of a working tree into a hosted repository, as a push does.
func pushInto(t testing.TB, r *Repository, work string, old tree.Hash) tree.Hash {
	t.Helper()
	tip, err := tree.ParseHash(gittest.Git(t, work, "rev-parse", "HEAD"))
	if err != nil {
		t.Fatal(err)
	}
	revs := tip.String() + "\n"
	if !old.IsZero() {
		revs += "^" + old.String() + "\n"
	}
	cmd := exec.CommandContext(t.Context(), "git", "pack-objects", "--revs", "--stdout", "-q")
	cmd.Dir, cmd.Env, cmd.Stdin = work, gittest.Env(work), strings.NewReader(revs)
	pack, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	q, err := r.Quarantine(bytes.NewReader(pack), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Discard()
	if err := q.Connected([]tree.Hash{tip}); err != nil {
		t.Fatal(err)
	}
	if errs := r.Update(t.Context(), q, []Update{{"refs/heads/main", old, tip}}, false); errs[0] != nil {
		t.Fatal(errs[0])
	}
	return tip
}

func TestARepositoryStaysWholeWhenItsPacksArePutTogether(t *testing.T) {
	h := openHosted(t, t.TempDir())
	r, err := h.Create("app")
	if err != nil {
		t.Fatal(err)
	}
	work := gittest.New(t)
	big := gittest.Files{}
	for i := range 200 {
		big[fmt.Sprintf("d%d/f%d.yaml", i%10, i)] = strings.Repeat(fmt.Sprint(i), 100)
	}
	gittest.Commit(t, work, "big", big)
	tip := pushInto(t, r, work, tree.Hash{})
	open, err := r.Reader() // one that was there before
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	stop := readOn(t, r)
	for i := range 2*maxPacks + 5 {
		gittest.Commit(t, work, "change", gittest.Files{"d1/f1.yaml": fmt.Sprint(i)})
		tip = pushInto(t, r, work, tip)
		if err := r.Compact(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	packs, err := r.packs()
	if err != nil || len(packs) > maxPacks+1 {
		t.Errorf("%d packs, %v", len(packs), err)
	}
	gittest.Git(t, r.Dir(), "fsck", "--full", "--strict")
	if n := gittest.Git(t, r.Dir(), "rev-list", "--count", "main"); n != fmt.Sprint(2*maxPacks+6) {
		t.Errorf("%s commits", n)
	}
	fresh, err := r.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	for _, rd := range []*Reader{open, fresh} {
		c, err := rd.Commit(tip)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(worktree(t, work), readAll(t, rd, c.Tree)); diff != "" {
			t.Error(diff)
		}
	}
}

// readOn reads the branch main again and again, side by side with what the test does, until it is stopped.
func readOn(t *testing.T, r *Repository) (stop func()) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	read := func() error {
		rd, err := r.Reader()
		if err != nil {
			return err
		}
		defer rd.Close()
		c, err := r.At(Rev{})
		if err != nil {
			return err
		}
		for change, err := range tree.Diff(rd, tree.Side{}, tree.Side{Tree: c.Tree}) {
			if err == nil {
				_, err = rd.Blob(change.New.Hash)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				t.Logf("read %d times", n)
				return
			default:
			}
			if err := read(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func TestSmallPacksArePutTogetherAndBigOnesLeftAlone(t *testing.T) {
	for _, tt := range []struct{ sizes, want []int64 }{
		{[]int64{1000, 10, 10, 10}, []int64{10, 10, 10}},
		{[]int64{10, 10, 10}, []int64{10, 10, 10}},
		{[]int64{1, 2, 5, 12, 100}, []int64{1, 2, 5, 12}},
		{[]int64{1, 100, 10000}, []int64{1}},
	} {
		var packs []storedPack
		for _, s := range tt.sizes {
			packs = append(packs, storedPack{size: s})
		}
		var got []int64
		for _, p := range smallPacks(packs) {
			got = append(got, p.size)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v: %s", tt.sizes, diff)
		}
	}
}

func TestAPackThatGoesOnForEverIsCutOff(t *testing.T) {
	h := openHosted(t, t.TempDir())
	r, err := h.Create("app")
	if err != nil {
		t.Fatal(err)
	}
	limits := DefaultLimits()
	limits.Pack = 3 << 20
	_, err = r.Quarantine(endless{}, limits)
	if !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(r.Dir(), "quarantine/*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLinksAreOfTheMomentAndWithoutWhatIsNotFinished(t *testing.T) {
	h := openHosted(t, t.TempDir())
	r, err := h.Create("shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(r.dir, "quarantine", "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "links")
	if err := h.Link(dir); err != nil {
		t.Fatal(err)
	}
	if err := h.Delete("shop"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "shop.git", "HEAD")); err != nil || !strings.Contains(string(b), "refs/heads/main") {
		t.Errorf("HEAD is %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "shop.git", "quarantine")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a push that is not finished was linked too:", err)
	}
}
