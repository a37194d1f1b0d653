package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mainstay-gitops/mainstay/"

// Which floors look where, and who may open the door to which library: see docs/ARCHITECTURE.md. Do not edit these to make
// a build pass: move the code.
var (
	floors = map[string][]string{
		"gitsource": {},
		"reconcile": {"gitsource"},
		"nodes":     {"reconcile/store", "reconcile/loop", "reconcile/client"},
		"dataplane": {"reconcile/store", "reconcile/loop", "reconcile/client"},
		"examples":  {},
	}
	doors = map[string][]string{
		"github.com/dgraph-io/badger":      {"reconcile/store/disk"},
		"github.com/go-git/go-git":         {"gitsource/repo", "gitsource/receive"},
		"github.com/fsnotify/fsnotify":     {"gitsource/trigger"},
		"github.com/containerd/containerd": {"nodes/runtime/containerd", "cmd/bench"}, // the bare loop it measures against
		"github.com/cilium/ebpf":           {"dataplane/bpf"},
		"k8s.io/apiserver":                 {"reconcile/api", "reconcile/access", "reconcile/admit", "reconcile/scheme/openapi/generate"},
		"k8s.io/apiextensions-apiserver":   {"cmd/mainstay", "reconcile/admit", "reconcile/api", "reconcile/scheme", "reconcile/health", "reconcile/lifecycle"}, // scheme: the kind, its schemas and rules; the others: its type
		"k8s.io/kube-aggregator":           {"reconcile/api", "reconcile/scheme", "reconcile/health", "reconcile/lifecycle"},
		"k8s.io/kubectl":                   {"cmd/mainstay", "nodes/pod"}, // nodes/pod: its QoS classes
		"k8s.io/kubernetes":                {},
	}
)

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p pkg
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

func TestFloorsLookOnlyWhereTheyMay(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		floor, _, _ := strings.Cut(path, "/")
		may, known := floors[floor]
		if !known {
			if floor != "cmd" {
				t.Errorf("%s is on no floor of the house", path)
			}
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module)
			if !ours || under(dep, floor) {
				continue
			}
			if !slices.ContainsFunc(may, func(m string) bool { return under(dep, m) }) {
				t.Errorf("%s imports %s: %s may not", path, dep, floor)
			}
		}
	}
}

func TestLibrariesAreReachedThroughTheirDoors(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			for library, allowed := range doors {
				if !under(imp, library) {
					continue
				}
				if !slices.ContainsFunc(allowed, func(a string) bool { return under(path, a) }) {
					t.Errorf("%s imports %s: only %s may", path, imp, strings.Join(allowed, ", "))
				}
			}
		}
	}
}

func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}
