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

var ways = []string{"a bit flipped", "another bit flipped", "cut short", "removed", "an older one"}

// A harm is one file of a store, spoilt in one way.
type harm struct{ file, way string }

// damageRounds spoils files of a store that was killed, each kind in each way. What is opened then is right, or it is said
// that it is not, and what is missing, exactly; and the store works again when that is accepted.
func damageRounds(t *testing.T, rounds int) (v verdict) {
	r := storetest.Rand(t)
	told, exact := 0, 0
	for v.rounds < rounds {
		source, older, seed := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "older"), r.Uint64()
		acked := writeSome(t, source, older, seed)
		there := endOf(t, source)
		todo := harms(t, r, source)
		for _, h := range todo[:min(len(todo), rounds-v.rounds)] {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
				t.Fatal(err)
			}
			if err := spoil(r, dir, older, h); err != nil {
				t.Fatal(err)
			}
			said := lookAt(dir, seed, acked, there)
			if strings.Contains(said, "WRONG") {
				v.judge(t, fmt.Errorf("%w: %s, %s: %.2000s", errLost, h.file, h.way, said))
			} else {
				v.judge(t, nil)
			}
			if !strings.HasPrefix(said, "harmless") {
				told++
			}
			if strings.Contains(said, "exactly") {
				exact++
			}
			t.Logf("%-20s %-20s %.300s", h.file, h.way, said)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	if told < v.rounds/6 {
		t.Errorf("only %d of %d were told", told, v.rounds)
	}
	v.note("%d told, %d of them with each object that was lost; the others harmless", told, exact)
	return v
}

// harms are all that can be done to a store, one file of each kind in each way, in random order.
func harms(t *testing.T, r *rand.Rand, dir string) (all []harm) {
	kinds := map[string][]string{}
	for _, file := range filesIn(t, dir) {
		kinds[kindOfFile(file)] = append(kinds[kindOfFile(file)], file)
	}
	for kind, files := range kinds {
		for _, way := range ways {
			if slices.Contains([]string{"LOCK", "lock", "DISCARD"}, kind) && way != "removed" {
				continue // what is in them does not matter
			}
			all = append(all, harm{files[r.IntN(len(files))], way})
		}
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// lookAt has a child look at a store that may be damaged: what Badger does to its process is an answer too.
func lookAt(dir string, seed uint64, acked, there store.Revision) string {
	out, err := self("look", dir, seed, childAcked+"="+acked.String(), childThere+"="+there.String()).CombinedOutput()
	if err != nil {
		return "WRONG: died: " + string(out)
	}
	return strings.TrimSpace(string(out))
}

// endOf is the last revision of a store that was killed: maybe one that nobody was told of.
func endOf(t *testing.T, dir string) store.Revision {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "whole")
	if err := os.CopyFS(whole, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	b, err := Open(whole, newCodec(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := storetest.Loaded(b)
	if err := errors.Join(err, b.Close()); err != nil {
		t.Fatal(err)
	}
	return m.Revision
}

// writeSome has children write until there are files of each kind, and kills them. older becomes a copy of an earlier state.
func writeSome(t *testing.T, dir, older string, seed uint64) (acked store.Revision) {
	t.Helper()
	for n := range 100 {
		done, err := killed("write", dir, seed, acknowledged, 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		acked = max(acked, done.acked)
		tables, err := filepath.Glob(filepath.Join(dir, "badger", "*.sst"))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
		} else if len(tables) > 0 && done.groups > 0 {
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

// spoil does h to a file in dir. Of what is not in older there is no older one; nor can the revision file be an older one
// alone and be noticed: it only ever says that more should be there.
func spoil(r *rand.Rand, dir, older string, h harm) error {
	path := filepath.Join(dir, h.file)
	switch h.way {
	case "removed":
		return os.Remove(path)
	case "cut short":
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, r.Int64N(max(1, info.Size())))
	case "an older one":
		b, err := os.ReadFile(filepath.Join(older, h.file))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return errors.Join(err, os.WriteFile(path, b, 0o600))
	}
	return flip(r, path)
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
	there, err := strconv.ParseUint(os.Getenv(childThere), 10, 64)
	if err != nil {
		return err
	}
	err = verify(dir, seed, mixed, storetest.NewModel(), store.Revision(acked), counts{})
	damage, ok := errors.AsType[*Damage](err)
	switch {
	case err == nil:
		fmt.Println("harmless")
	case !ok:
		fmt.Println("WRONG:", err)
	case damage.Beyond:
		fmt.Println("told, beyond help:", err)
	default:
		fmt.Println("told:", err)
		if err := acceptLoss(dir, seed, store.Revision(there)); err != nil {
			fmt.Println("WRONG: after accepting the loss:", err)
		}
	}
	return nil
}

// acceptLoss opens dir without what is missing, looks whether that is what was said, writes to it, and opens it again.
func acceptLoss(dir string, seed uint64, there store.Revision) error {
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
			if diff, err := mistold(d, m, seed, there); err != nil || diff != "" {
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

// mistold says how d differs from what got lacks of what was there.
func mistold(d *Damage, got *storetest.Model, seed uint64, there store.Revision) (string, error) {
	want := storetest.NewModel()
	if err := advance(seed, mixed, want, there); err != nil {
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
