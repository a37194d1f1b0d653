package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	resultsFile = "cmd/conformance/results.txt"       // how each test ended when it last ran
	causesFile  = "cmd/conformance/causes.txt"        // why tests fail or cannot run, kept by hand
	ratesFile   = "reconcile/scheme/compat/rates.txt" // what make compat found when it last ran
	pageFile    = "docs/CONFORMANCE.md"
)

// An outcome is how a test ended.
type outcome string

const (
	passed outcome = "passed"
	failed outcome = "failed"
	notRun outcome = "not run"
)

// Results are the outcomes of tests, by name.
type results map[string]outcome

// spec is what is read of a test in the report that ginkgo writes.
type spec struct {
	ContainerHierarchyTexts  []string
	ContainerHierarchyLabels [][]string
	LeafNodeText             string
	LeafNodeLabels           []string
	State                    string
	RunTime                  time.Duration
	Failure                  struct{ Message string }
}

func (s spec) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

func (s spec) conformance() bool { return slices.Contains(s.LeafNodeLabels, "Conformance") }

// outcome is how the test ended. One that was cut off with the whole suite did not run; one that looked around and said that it
// does not apply here has failed.
func (s spec) outcome() outcome {
	switch s.State {
	case "passed":
		return passed
	case "skipped":
		if s.Failure.Message != "" {
			return failed
		}
		return notRun
	case "pending", "interrupted":
		return notRun
	case "timedout":
		if strings.Contains(s.Failure.Message, "suite timeout") {
			return notRun
		}
	}
	return failed
}

// readReports is how the tests of this run ended; those of the suite that it left out are there as not run.
func readReports(dir string) (results, error) {
	known, err := readResults(resultsFile)
	if err != nil {
		return nil, err
	}
	out := results{}
	for _, part := range []string{"parallel", "serial"} {
		logged, err := readLog(filepath.Join(dir, part+".log"), known)
		if err != nil {
			return nil, err
		}
		maps.Copy(out, logged)
		specs, err := readReport(filepath.Join(dir, part+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, s := range specs {
			if !s.conformance() {
				continue
			}
			o := s.outcome()
			if o == notRun {
				o = cmp.Or(out[s.name()], notRun) // the other part may have run it
			}
			out[s.name()] = o
			if o == failed {
				fmt.Printf("failed (%.0f s): %s\n    %s\n", s.RunTime.Seconds(), s.name(), firstLines(s.Failure.Message, 3))
			}
		}
	}
	return out, nil
}

func firstLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n    ")
}

func readReport(path string) ([]spec, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var suites []struct{ SpecReports []spec }
	if err := json.Unmarshal(b, &suites); err != nil {
		return nil, fmt.Errorf("read the suite's report: %w", err)
	}
	var all []spec
	for _, s := range suites {
		all = append(all, s.SpecReports...)
	}
	return all, nil
}

// report prints how this run went, and brings what is kept up to date. It is an error if a test failed that could have passed.
func report(seen results, took time.Duration) error {
	known, err := readCauses(causesFile)
	if err != nil {
		return err
	}
	all, err := readResults(resultsFile)
	if err != nil {
		return err
	}
	for name, o := range seen {
		if o != notRun || all[name] == "" {
			all[name] = o
		}
	}
	rates, err := os.ReadFile(ratesFile)
	if err != nil {
		return err
	}
	if err := errors.Join(writeResults(resultsFile, all), os.WriteFile(pageFile, []byte(page(all, known)+agreement(rates)), 0o644)); err != nil {
		return err
	}
	printTable(seen)
	var unable int
	for name, o := range seen {
		if c := known.of(name); o == failed && c != nil && c.unable {
			unable++
		}
	}
	count := tally(seen)
	fmt.Printf("%d passed, %d failed in %s\n", count[passed], count[failed], took.Round(time.Second))
	if n := count[failed] - unable; n > 0 {
		return fmt.Errorf("%d tests failed", n)
	}
	return nil
}

func tally(r results) map[outcome]int {
	out := map[outcome]int{}
	for _, o := range r {
		out[o]++
	}
	return out
}

// bySig sorts results by the group in whose care the tests are.
func bySig(r results) map[string]results {
	out := map[string]results{}
	for name, o := range r {
		sig := strings.TrimPrefix(strings.SplitN(name, "]", 2)[0], "[")
		if out[sig] == nil {
			out[sig] = results{}
		}
		out[sig][name] = o
	}
	return out
}

func printTable(r results) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "GROUP\tPASSED\tFAILED\tNOT RUN")
	groups := bySig(r)
	for _, sig := range slices.Sorted(maps.Keys(groups)) {
		c := tally(groups[sig])
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", sig, c[passed], c[failed], c[notRun])
	}
	w.Flush()
}

func readResults(path string) (results, error) {
	out := results{}
	err := eachLine(path, func(line string) error {
		o, name, ok := strings.Cut(line, "\t")
		if !ok {
			return fmt.Errorf("%q has no tab", line)
		}
		out[name] = outcome(o)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	return out, err
}

func writeResults(path string, r results) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&b, "%s\t%s\n", r[name], name)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// A cause is why tests do not pass.
type cause struct {
	tests  *regexp.Regexp
	unable bool // they cannot run here; else they fail
	text   string
}

type causes []cause

// of is the first cause that names a test, or nil.
func (cs causes) of(test string) *cause {
	for i := range cs {
		if cs[i].tests.MatchString(test) {
			return &cs[i]
		}
	}
	return nil
}

// readCauses reads lines of: "fails" or "cannot", a tab, a regular expression, a tab, the cause.
func readCauses(path string) (causes, error) {
	var out causes
	err := eachLine(path, func(line string) error {
		parts := strings.Split(line, "\t")
		if len(parts) != 3 || parts[0] != "fails" && parts[0] != "cannot" {
			return fmt.Errorf("%q: want fails or cannot, a regular expression, and the cause, with tabs between them", line)
		}
		re, err := regexp.Compile(parts[1])
		out = append(out, cause{tests: re, unable: parts[0] == "cannot", text: parts[2]})
		return err
	})
	return out, err
}

// eachLine calls do for the lines of a file that are neither empty nor begin with #.
func eachLine(path string, do func(string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if line := s.Text(); line != "" && !strings.HasPrefix(line, "#") {
			if err := do(line); err != nil {
				return fmt.Errorf("%s:%d: %w", path, n, err)
			}
		}
	}
	return s.Err()
}

// page is docs/CONFORMANCE.md.
func page(all results, known causes) string {
	var b strings.Builder
	groups := bySig(all)
	fmt.Fprintf(&b, `# Kubernetes' conformance suite

What its %d tests of %s say of Mainstay, on one node. `+"`make conformance`"+` runs them (`+"`FOCUS=regexp`"+` those whose names match) and writes this page:
edit cmd/conformance/causes.txt rather than it. The images are built on the spot: no test is changed, and none is treated specially.

| group | tests | pass | fail | cannot run here | not run yet |
|---|---|---|---|---|---|
`, len(all), version)
	var sum [5]int
	for _, sig := range slices.Sorted(maps.Keys(groups)) {
		var row [5]int
		for name, o := range groups[sig] {
			row[0]++
			row[column(name, o, known)]++
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", sig, row[0], row[1], row[2], row[3], row[4])
		for i, n := range row {
			sum[i] += n
		}
	}
	fmt.Fprintf(&b, "| **all** | %d | %d | %d | %d | %d |\n", sum[0], sum[1], sum[2], sum[3], sum[4])
	for _, sig := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&b, "\n## %s\n\n", sig)
		for _, name := range slices.Sorted(maps.Keys(groups[sig])) {
			fmt.Fprintf(&b, "- %s: %s\n", verdict(name, groups[sig][name], known), shorten(name, sig))
		}
	}
	return b.String()
}

// agreement is the end of the page: how far the rules of kinds are those of Kubernetes.
func agreement(rates []byte) string {
	return "\n## Rules of kinds\n\nWhat `make compat` found: of so many objects, hand-picked and changed a little at random, Mainstay and Kubernetes 1.37 said the same, as " +
		"new\nobjects (verdicts) and as changes of others (updates), filled in the same, and showed the same table.\n\n```\n" + string(rates) + "```\n"
}

// column is where a test is counted: passes, fails, cannot run here, not run yet.
func column(name string, o outcome, known causes) int {
	c := known.of(name)
	switch {
	case o == passed:
		return 1
	case c != nil && c.unable:
		return 3
	case o == failed:
		return 2
	}
	return 4
}

func verdict(name string, o outcome, known causes) string {
	c := known.of(name)
	if o == passed {
		return "passes"
	}
	if c == nil {
		return map[outcome]string{failed: "**fails**", notRun: "not run yet"}[o]
	}
	if c.unable {
		return "*cannot run here* (" + c.text + ")"
	}
	if o == notRun {
		return "not run yet (" + c.text + ")"
	}
	return "**fails** (" + c.text + ")"
}

func shorten(name, sig string) string {
	name = strings.TrimPrefix(name, "["+sig+"] ")
	return strings.TrimSpace(strings.ReplaceAll(name, "[Conformance]", ""))
}
