package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

func TestARestoredStoreHasTheObjectsAtTheirRevisionsAndGivesNoRevisionOutTwice(t *testing.T) {
	b, m := open(t, t.TempDir(), Options{}), storetest.NewModel()
	write(t, b, m, 40, storetest.Sizes{Deltas: 4, Changes: 50, Bytes: 3000, Keys: 2000})
	shut(t, b)

	dir := filepath.Join(t.TempDir(), "store")
	r, err := NewRestore(dir, newCodec(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range m.Objects {
		if err := r.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	const least = 7_000_000
	if err := r.Finish(m.Revision, least); err != nil {
		t.Fatal(err)
	}
	if got := LastRevision(dir); got < least+beyond {
		t.Errorf("it ends at %d, and %d was given out", got, least)
	}
	b = open(t, dir, Options{})
	defer shut(t, b)
	m.Revision = b.state.revision
	compare(t, b, m)
	write(t, b, m, 5, small)
	compare(t, b, m)
}

func TestARestoreTakesOnlyAFolderThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := NewRestore(dir, newCodec(), Options{}); err == nil || !strings.Contains(err.Error(), "there is something") {
		t.Error(err)
	}
}

func TestVerifyChangesNothingAndNamesWhatIsLost(t *testing.T) {
	dir, m := t.TempDir(), storetest.NewModel()
	b := open(t, dir, Options{})
	write(t, b, m, 30, storetest.Sizes{Deltas: 4, Changes: 50, Bytes: 3000, Keys: 1000})
	if _, err := Verify(t.Context(), dir, t.TempDir(), newCodec()); !errors.Is(err, ErrInUse) {
		t.Error("while it is open:", err)
	}
	shut(t, b)
	r, err := Verify(t.Context(), dir, t.TempDir(), newCodec())
	if err != nil || r.Damage != nil || r.Objects != len(m.Objects) || r.Revision != m.Revision {
		t.Fatalf("%+v, %v; want %d objects at %d", r, err, len(m.Objects), m.Revision)
	}

	tables, err := filepath.Glob(filepath.Join(dir, "badger", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	if err := os.Truncate(tables[0], 100); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	r, err = Verify(t.Context(), dir, t.TempDir(), newCodec())
	if err != nil {
		t.Fatal(err)
	}
	if r.Damage == nil || len(r.Lost) == 0 || len(r.Lost)+r.Objects < len(m.Objects) || r.Partial || r.Beyond != "" {
		t.Errorf("%d objects were there, the report says: %d left, %d lost, %+v", len(m.Objects), r.Objects, len(r.Lost), r.Found)
	}
	for name, was := range before {
		if is := contents(t, dir)[name]; is != was {
			t.Errorf("%s was changed", name)
		}
	}
}

// contents are all files below dir but the lock.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range filesIn(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if name != "lock" {
			all[name] = string(b)
		}
	}
	return all
}

// What the roster says of a store that is well is that all is there, however often it was written anew or cut.
func TestTheRosterFollowsTheStore(t *testing.T) {
	dir, m := t.TempDir(), storetest.NewModel()
	b := open(t, dir, Options{})
	agree := func(when string) {
		t.Helper()
		listed, st, err := b.roster.live(b.roster.size)
		if err != nil || st != b.state {
			t.Fatalf("%s: it ends at %+v, the store at %+v: %v", when, st, b.state, err)
		}
		if len(listed) != len(m.Objects) {
			t.Errorf("%s: it lists %d objects of %d", when, len(listed), len(m.Objects))
		}
		for k, o := range m.Objects {
			if got := listed[string(objectKey(k))]; store.Revision(got) != store.RevisionOf(o) {
				t.Errorf("%s: %s is listed at %d, and is at %s", when, k, got, o.GetResourceVersion())
			}
		}
	}
	write(t, b, m, 20, small)
	agree("at first")
	b.roster.least = -rosterGrows // it counts as grown large
	if err := b.trimRoster(); err != nil {
		t.Fatal(err)
	}
	agree("written anew")
	write(t, b, m, 5, small)
	agree("after more writes")
	shut(t, b)

	info, err := os.Stat(filepath.Join(dir, "roster"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "roster"), info.Size()-7); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, Options{})
	defer shut(t, b)
	compare(t, b, m) // loads it
	agree("cut, and loaded")
}
