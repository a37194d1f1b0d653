package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReportsOfBothPartsAreReadTogether(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "parallel.json"), `[{"SpecReports": [
		{"LeafNodeText": "", "State": "passed"},
		{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeText": "run", "LeafNodeLabels": ["Conformance"], "State": "passed"},
		{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeText": "end", "LeafNodeLabels": ["Conformance"], "State": "timedout"},
		{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeText": "do not fit", "LeafNodeLabels": ["Conformance"], "State": "skipped", "Failure": {"Message": "needs two nodes"}},
		{"ContainerHierarchyTexts": ["[sig-apps] Daemons"], "LeafNodeText": "roll", "LeafNodeLabels": ["Conformance", "Serial"], "State": "skipped"},
		{"ContainerHierarchyTexts": ["[sig-apps] Others"], "LeafNodeText": "are not asked", "State": "passed"}]}]`)
	write(t, filepath.Join(dir, "serial.json"), `[{"SpecReports": [
		{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeText": "run", "LeafNodeLabels": ["Conformance"], "State": "skipped"},
		{"ContainerHierarchyTexts": ["[sig-apps] Daemons"], "LeafNodeText": "roll", "LeafNodeLabels": ["Conformance", "Serial"], "State": "passed"}]}]`)
	got, err := readReports(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := results{
		"[sig-node] Pods run": passed, "[sig-node] Pods end": failed, "[sig-node] Pods do not fit": failed, "[sig-apps] Daemons roll": passed,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOfACrashedSuiteTheLogIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "parallel.log")
	write(t, file, "------\n• [5.030 seconds]\n[sig-a] One two [Feature] three [Conformance] [sig-a, Conformance]\n/x.go:1\n------\n"+
		"• [FAILED] [0.2 seconds]\n[sig-a] Four [BeforeEach]  five [Conformance] [sig-a, Serial, Conformance]\n"+
		"• [INTERRUPTED] [0.2 seconds]\n[sig-a] Six [It] seven [Conformance] [sig-a, Conformance]\n• [1.0 seconds]\n[sig-b] Nobody knows [It] this [sig-b, Slow]\n")
	one, four := "[sig-a] One two [Feature] three [Conformance]", "[sig-a] Four  five [Conformance]"
	got, err := readLog(file, results{one: notRun, four: notRun, "[sig-a] Six seven [Conformance]": notRun})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(results{one: passed, four: failed}, got); d != "" {
		t.Error(d)
	}
}

func TestThePageCountsEachTestOnceAndNamesCauses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "causes.txt")
	write(t, file, "# why\ncannot\ttwo nodes$\tit needs two nodes\nfails\tproxy\tno proxy yet\n")
	known, err := readCauses(file)
	if err != nil {
		t.Fatal(err)
	}
	got := page(results{
		"[sig-node] Pods run [Conformance]": passed, "[sig-node] Pods on two nodes": failed, "[sig-node] Pods by proxy": failed,
		"[sig-node] Pods crash": failed, "[sig-cli] kubectl prints": notRun,
	}, known)
	for _, want := range []string{
		"| sig-node | 4 | 1 | 2 | 1 | 0 |\n", "| **all** | 5 | 1 | 2 | 1 | 1 |\n", "- passes: Pods run\n",
		"- *cannot run here* (it needs two nodes): Pods on two nodes\n", "- **fails** (no proxy yet): Pods by proxy\n", "- **fails**: Pods crash\n",
		"- not run yet: kubectl prints\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q:\n%s", want, got)
		}
	}
}

func TestResultsAreReadAsTheyWereWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.txt")
	want := results{"[sig-a] one, two": passed, "[sig-a] three": failed, "[sig-b] four": notRun}
	if err := writeResults(file, want); err != nil {
		t.Fatal(err)
	}
	got, err := readResults(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTheCausesThatAreKeptAreWellFormed(t *testing.T) {
	if _, err := readCauses("causes.txt"); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
