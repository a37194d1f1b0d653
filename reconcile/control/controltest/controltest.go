// Package controltest tests controllers with objects that are written as YAML, and plans that are written as text.
package controltest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Now is the time in which tests plan.
var Now = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// Objects reads YAML documents, fills in defaults, and gives those without a UID one that is made of their name.
func Objects(t testing.TB, s *scheme.Scheme, text string) []store.Object {
	t.Helper()
	var out []store.Object
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("read %s: %v", text, err)
		}
		if len(u.Object) == 0 {
			continue
		}
		o, err := s.Typed(u)
		if err != nil {
			t.Fatal(err)
		}
		s.Default(o)
		if o.GetUID() == "" {
			o.SetUID(types.UID("uid-" + o.GetName()))
		}
		out = append(out, o)
	}
}

// Store is a store that holds objects, and finds those who change them.
func Store(t testing.TB, s *scheme.Scheme, indexes []store.Index, objects ...store.Object) *store.Memory {
	t.Helper()
	m, err := store.Open(store.NewVolatile(s.Stored), s.Stored, store.Options{Indexes: indexes, Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if len(objects) > 0 {
		if _, err := m.Update(t.Context(), "test", func(tx *store.Tx) error {
			for _, o := range objects {
				if err := tx.Create(o); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// chain is made once: it never changes.
var chain = sync.OnceValue(func() *admit.Chain { return admit.New(scheme.New(scheme.Options{})) })

// World is what is in st, at Now, with the same chance each time.
func World(st store.Store) control.World {
	return control.World{Snapshot: st.Snapshot(), Now: Now, Rand: rand.New(rand.NewPCG(1, 2)), Admission: chain()}
}

// Golden plans what each file that pattern matches describes. The comment of a file says what it shows; its section
// "objects" is the world, with indexes; each section "plan KIND [NAMESPACE/]NAME" is a plan, which -update rewrites.
func Golden(t *testing.T, c control.Controller, pattern string, indexes ...store.Index) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files match %s (%v)", pattern, err)
	}
	s := scheme.New(scheme.Options{})
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := World(Store(t, s, indexes, Objects(t, s, string(a.Files[0].Data))...))
			for i, f := range a.Files[1:] {
				p, err := c.Plan(w, key(t, s, f.Name))
				if err != nil {
					t.Fatal(err)
				}
				got := Print(w, p)
				if *update {
					a.Files[i+1].Data = []byte(got)
				} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("%s\n%s (-want +got):\n%s", bytes.TrimSpace(a.Comment), f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func key(t *testing.T, s *scheme.Scheme, section string) store.Key {
	f := strings.Fields(section)
	if len(f) != 3 || f[0] != "plan" {
		t.Fatalf("section %q: want plan KIND NAME", section)
	}
	for _, k := range s.All() {
		if k.Kind == f[1] {
			ns, name, ok := strings.Cut(f[2], "/")
			if !ok {
				ns, name = "", f[2]
			}
			return store.Key{Kind: k.GroupKind(), Namespace: ns, Name: name}
		}
	}
	t.Fatalf("section %q: no such kind", section)
	return store.Key{}
}

// Print writes a plan for people.
func Print(w control.World, p control.Plan) string {
	var b strings.Builder
	for _, write := range p.Writes {
		k := w.Key(write.Object)
		fmt.Fprintf(&b, "%s %s: %s\n", write.Op, k, write.Why)
		if write.Op == control.Delete {
			continue
		}
		live, _ := w.Get(k)
		for _, line := range difference(live, write.Object) {
			b.WriteString("  " + line + "\n")
		}
	}
	for _, e := range p.Events {
		fmt.Fprintf(&b, "event %s %s %s: %s\n", w.Key(e.About), e.Type, e.Reason, e.Message)
	}
	if p.After > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.After)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}
