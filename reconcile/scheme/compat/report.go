package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// measured are the comparisons, as the report lists them.
var measured = []string{"verdicts", "updates", "defaults", "columns"}

// A report is what was found, by kind.
type report struct {
	options
	kinds   []*tally
	missing []string
}

// A tally counts the agreements on one kind.
type tally struct {
	options
	kind        string
	same, total map[string]int
	shown       map[string][]string
	failures    map[string]int
}

func (r *report) of(kind string) *tally {
	t := &tally{options: r.options, kind: kind, same: map[string]int{}, total: map[string]int{}, shown: map[string][]string{}, failures: map[string]int{}}
	r.kinds = append(r.kinds, t)
	return t
}

// note counts one comparison. why is asked for where the two differ.
func (t *tally) note(what string, same bool, o runtime.Object, why func() string) {
	t.total[what]++
	if same {
		t.same[what]++
		return
	}
	if len(t.shown[what]) < t.show && (t.only == "" || t.only == what) {
		text, _ := yaml.Marshal(o)
		t.shown[what] = append(t.shown[what], fmt.Sprintf("%s\n%s", why(), text))
	}
}

func (t *tally) broken(why string) { t.failures[why]++ }

// print writes a line for each kind: how many objects were compared, and of how many of 100 the two say the same.
func (r *report) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KIND\tOBJECTS\tVERDICTS\tUPDATES\tDEFAULTS\tCOLUMNS")
	for _, t := range r.kinds {
		fmt.Fprintf(table, "%s\t%d", t.kind, t.total["verdicts"])
		for _, what := range measured {
			fmt.Fprintf(table, "\t%s", rate(t.same[what], t.total[what]))
		}
		fmt.Fprintln(table)
	}
	table.Flush()
	for _, m := range r.missing {
		fmt.Fprintln(w, "not compared:", m)
	}
	for _, t := range r.kinds {
		for _, why := range slices.Sorted(maps.Keys(t.failures)) {
			fmt.Fprintf(w, "not compared: %s, %d times: %s\n", t.kind, t.failures[why], why)
		}
		for _, what := range measured {
			for _, s := range t.shown[what] {
				fmt.Fprintf(w, "\n== %s, %s\n%s", t.kind, what, s)
			}
		}
	}
}

func rate(same, total int) string {
	if total == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(same)/float64(total))
}
