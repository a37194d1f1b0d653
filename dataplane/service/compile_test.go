package service_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each file of testdata tells a story: objects in N.yaml, all that there are at that time, then N.plan, what is written to
// get there from the time before, and N.rows, what the tables hold then.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			story, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := string(txtar.Format(story))
			story.Files = tell(t, story.Files)
			got := string(txtar.Format(story))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got, `go test -update` rewrites):\n%s", d)
			}
		})
	}
}

// tell returns the YAML files of a story, each followed by what comes of it.
func tell(t *testing.T, files []txtar.File) (told []txtar.File) {
	s := newStore(t)
	rows := map[store.Key]service.Rows{}
	var ids service.IDs
	for _, f := range files {
		name, isYAML := strings.CutSuffix(f.Name, ".yaml")
		if !isYAML {
			continue
		}
		replace(t, s, parse(t, f.Data))
		for svc := range store.List[*corev1.Service](s.Snapshot()) {
			rows[s.Snapshot().Key(svc)] = rows[s.Snapshot().Key(svc)]
		}
		var plans, dump bytes.Buffer
		for _, key := range slices.SortedFunc(maps.Keys(rows), store.Key.Compare) {
			want, next, ignored := service.Compile(s.Snapshot(), "mine", key, rows[key], ids)
			plan := service.PlanRows(rows[key], want, false)
			for _, why := range ignored {
				fmt.Fprintf(&plans, "%s ignores %s\n", key, why)
			}
			fmt.Fprint(&plans, plan)
			fmt.Fprint(&dump, want)
			rows[key], ids = want, next
		}
		told = append(told, f, txtar.File{Name: name + ".plan", Data: plans.Bytes()}, txtar.File{Name: name + ".rows", Data: dump.Bytes()})
	}
	return told
}

func kinds() store.Kinds {
	k := store.Kinds{}
	k.Add(corev1.SchemeGroupVersion.WithKind("Service"), &corev1.Service{})
	k.Add(corev1.SchemeGroupVersion.WithKind("Pod"), &corev1.Pod{})
	k.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), &discoveryv1.EndpointSlice{})
	return k
}

func newStore(t testing.TB) *store.Memory {
	t.Helper()
	s, err := store.Open(store.NewVolatile(kinds()), kinds(), store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// write changes the store.
func write(t testing.TB, s *store.Memory, fn func(*store.Tx) error) store.Revision {
	t.Helper()
	r, err := s.Update(context.Background(), "test", fn)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// replace makes objects all that s holds.
func replace(t testing.TB, s *store.Memory, objects []store.Object) {
	t.Helper()
	write(t, s, func(tx *store.Tx) error {
		for o := range s.Snapshot().List(store.Query{}) {
			if err := tx.Delete(tx.Key(o)); err != nil {
				return err
			}
		}
		for _, o := range objects {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	})
}

// parse reads Services and EndpointSlices.
func parse(t testing.TB, data []byte) (objects []store.Object) {
	t.Helper()
	for doc := range strings.SplitSeq(string(data), "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var o store.Object = &corev1.Service{}
		if strings.Contains(doc, "kind: EndpointSlice") {
			o = &discoveryv1.EndpointSlice{}
		}
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		objects = append(objects, o)
	}
	return objects
}

func memoryTables() service.Tables {
	return service.Tables{
		Frontends: target.NewMemory[service.Frontend, service.Set](),
		Slots:     target.NewMemory[service.Slot, service.ID](),
		Backends:  target.NewMemory[service.ID, service.Backend](),
	}
}
