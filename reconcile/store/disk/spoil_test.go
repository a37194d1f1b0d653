package disk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// Each way to spoil a file is tried on each kind of file of a store that was killed. What is opened then is right, or it is
// said that it is not; and where accepting the loss helps, the store works again.
func TestASpoiltFileIsToldOrHarmless(t *testing.T) {
	r := storetest.Rand(t)
	source, seed := filepath.Join(t.TempDir(), "source"), r.Uint64()
	acked := writeSome(t, source, seed)
	if err := dropBallast(source); err != nil {
		t.Fatal(err)
	}
	kinds := map[string][]string{}
	for _, file := range filesIn(t, source) {
		kinds[kindOfFile(file)] = append(kinds[kindOfFile(file)], file)
	}
	told, trials := 0, 0
	for kind, files := range kinds {
		for _, what := range []string{"a bit flipped", "another bit flipped", "cut short", "removed"} {
			if slices.Contains([]string{"LOCK", "lock", "DISCARD"}, kind) && what != "removed" {
				continue // what is in them does not matter
			}
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			file := files[r.IntN(len(files))]
			if err := spoil(r, filepath.Join(dir, file), what); err != nil {
				t.Fatal(err)
			}
			out, err := self("look", dir, seed, childAcked+"="+acked.String()).CombinedOutput()
			verdict := strings.TrimSpace(string(out))
			if err != nil { // Badger reads tables in goroutines of its own, and a panic there ends the process
				verdict = "died: " + verdict
			}
			if strings.Contains(verdict, "WRONG") {
				t.Errorf("%s (%s), %s: %.2000s", file, kind, what, verdict)
			}
			trials++
			if !strings.HasPrefix(verdict, "harmless") {
				told++
			}
			t.Logf("%-12s %-20s %.160s ... %s", kind, what, verdict, verdict[strings.LastIndex(verdict, "\n")+1:])
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("told %d of %d", told, trials)
	if told < trials/5 {
		t.Errorf("only %d of %d were told", told, trials)
	}
}

// writeSome has children write until there are files of each kind, and kills them.
func writeSome(t *testing.T, dir string, seed uint64) (acked store.Revision) {
	t.Helper()
	for range 100 {
		done, err := killed("write", dir, seed, acknowledged, 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		acked = max(acked, done.acked)
		tables, err := filepath.Glob(filepath.Join(dir, "badger", "*.sst"))
		if err != nil {
			t.Fatal(err)
		}
		if len(tables) > 0 && done.groups > 0 {
			return acked
		}
	}
	t.Fatal("no table was written")
	return 0
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*", "badger/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(dir, file)
			if err != nil {
				t.Fatal(err)
			}
			if !info.IsDir() {
				names = append(names, name)
			}
		}
	}
	return names
}

func kindOfFile(name string) string {
	if ext := filepath.Ext(name); ext != "" {
		return ext
	}
	return filepath.Base(name)
}

func spoil(r *rand.Rand, file, what string) error {
	switch what {
	case "removed":
		return os.Remove(file)
	case "cut short":
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		return os.Truncate(file, r.Int64N(max(1, info.Size())))
	}
	return flip(r, file)
}

// flip turns one bit of a byte that is not 0: most of a file may be unused.
func flip(r *rand.Rand, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var used []int
	for i, v := range b {
		if v != 0 {
			used = append(used, i)
		}
	}
	if len(used) == 0 {
		return nil
	}
	b[used[r.IntN(len(used))]] ^= 1 << r.IntN(8)
	return os.WriteFile(file, b, 0o600)
}

// look is what a child says of a store that may be damaged: Badger may end its process.
func look(dir string, seed uint64) error {
	acked, err := strconv.ParseUint(os.Getenv(childAcked), 10, 64)
	if err != nil {
		return err
	}
	err = verify(dir, seed, mixed, storetest.NewModel(), store.Revision(acked), counts{})
	damage, ok := errors.AsType[*Damage](err)
	switch {
	case err == nil:
		fmt.Println("harmless")
	case !ok && errors.Is(err, os.ErrNotExist):
		fmt.Println("told otherwise:", err)
	case !ok:
		fmt.Println("WRONG:", err)
	case damage.Beyond:
		fmt.Println("told, beyond help:", err)
	default:
		fmt.Println("told:", err)
		if err := acceptLoss(dir, seed, store.Revision(acked)); err != nil {
			fmt.Println("WRONG: after accepting the loss:", err)
		}
	}
	return nil
}

// acceptLoss opens dir without what is missing, looks whether that is what was said, writes to it, and opens it again.
func acceptLoss(dir string, seed uint64, acked store.Revision) error {
	for _, opts := range []Options{{AcceptLoss: true}, {}} {
		b, err := Open(dir, newCodec(), opts)
		if err != nil {
			return err
		}
		m, err := storetest.Loaded(b)
		if err != nil {
			return err
		}
		if d := b.Accepted(); d != nil && !d.Partial {
			if diff, err := mistold(d, m, seed, acked); err != nil || diff != "" {
				return errors.Join(err, fmt.Errorf("what was said to be lost is not what is lost: %s", diff))
			}
			fmt.Println("exactly", len(d.Lost), "objects are lost")
		}
		if err := b.Append(context.Background(), m.Revision, mixed(1, m)); err != nil {
			return err
		}
		if err := b.Close(); err != nil {
			return err
		}
	}
	return nil
}

// mistold says how d differs from what got lacks of what was acknowledged.
func mistold(d *Damage, got *storetest.Model, seed uint64, acked store.Revision) (string, error) {
	want := storetest.NewModel()
	if err := advance(seed, mixed, want, acked); err != nil {
		return "", err
	}
	lost := map[string]store.Revision{}
	for k, o := range want.Objects {
		if have := got.Objects[k]; have == nil || store.RevisionOf(have) < store.RevisionOf(o) {
			lost[k.String()] = store.RevisionOf(o)
		}
	}
	for k := range got.Objects {
		if want.Objects[k] == nil {
			return k.String() + " is still there", nil
		}
	}
	said := map[string]store.Revision{}
	for _, l := range d.Lost {
		if l.Want > 0 {
			said[l.Key.String()] = l.Want
		}
	}
	return cmp.Diff(lost, said), nil
}
