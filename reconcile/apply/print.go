package apply

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// How much of a plan is printed.
const (
	maxNames  = 24 // of one kind of change, before "and n more"
	maxFields = 6  // of one object
)

// Print writes a plan for people: what it creates, in a few lines; what it changes, with the fields; what it deletes.
func (p *Plan) Print(w io.Writer) {
	fmt.Fprintf(w, "%-43s commit %s\n", p.summary(), p.Commit.Hash.Short())
	for _, n := range p.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	p.names(w, "+ ", func(i Item) bool { return i.Op == Create })
	shown := 0
	for _, i := range p.Items {
		if i.Op != Update && i.Op != Replace {
			continue
		}
		if shown++; shown <= maxNames {
			i.print(w)
		}
	}
	more(w, shown-maxNames)
	p.names(w, "- ", func(i Item) bool { return i.Op == Prune })
	p.names(w, "kept: ", func(i Item) bool { return i.Op == Keep })
	p.names(w, "adopted: ", func(i Item) bool { return i.Adopt })
	if p.Empty() {
		fmt.Fprintln(w, "nothing changes")
	}
}

// summary is the first line: "6 manifests, 1 namespace".
func (p *Plan) summary() string {
	namespaces := map[string]bool{}
	for _, i := range p.Items {
		if i.Key.Namespace != "" {
			namespaces[i.Key.Namespace] = true
		}
	}
	text := plural(p.Manifests, "manifest")
	if n := len(namespaces); n > 0 {
		text += ", " + plural(n, "namespace")
	}
	return text
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// names writes the names of the items that are selected, as many on a line as fit.
func (p *Plan) names(w io.Writer, mark string, selected func(Item) bool) {
	const width = 100
	line, shown := "", 0
	for _, i := range p.Items {
		if !selected(i) {
			continue
		}
		if shown++; shown > maxNames {
			continue
		}
		name := mark + i.Key.String()
		if line != "" && len(line)+3+len(name) > width {
			fmt.Fprintln(w, line)
			line = ""
		}
		if line != "" {
			line += "   "
		}
		line += name
	}
	if line != "" {
		fmt.Fprintln(w, line)
	}
	more(w, shown-maxNames)
}

func more(w io.Writer, n int) {
	if n > 0 {
		fmt.Fprintf(w, "  and %d more\n", n)
	}
}

func (i Item) print(w io.Writer) {
	mark := "~"
	if i.Op == Replace {
		mark = "±"
	}
	if len(i.Diff) == 1 {
		fmt.Fprintf(w, "%s %s   %s\n", mark, i.Key, i.Diff[0])
		return
	}
	fmt.Fprintf(w, "%s %s\n", mark, i.Key)
	for _, d := range i.Diff[:min(len(i.Diff), maxFields)] {
		fmt.Fprintf(w, "    %s\n", d)
	}
	more(w, len(i.Diff)-maxFields)
}

// Report is a plan for programs.
type Report struct {
	Source    string         `json:"source"`
	Commit    string         `json:"commit"`
	Manifests int            `json:"manifests"`
	Objects   []ReportedItem `json:"objects"`
	Notes     []string       `json:"notes,omitempty"`
}

// ReportedItem is one object of a Report. What does not change is left out.
type ReportedItem struct {
	Op        Op       `json:"op"`
	Group     string   `json:"group,omitempty"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Path      string   `json:"path"`
	Line      int      `json:"line"`
	Adopted   bool     `json:"adopted,omitempty"`
	Fields    []string `json:"fields,omitempty"`
}

// Report is p for programs.
func (p *Plan) Report() Report {
	r := Report{Source: p.Source.String(), Commit: p.Commit.Hash.String(), Manifests: p.Manifests, Objects: []ReportedItem{}}
	for _, n := range p.Notes {
		r.Notes = append(r.Notes, strings.TrimSpace(n.String()))
	}
	for _, i := range p.Items {
		if i.Op == Unchanged && !i.Adopt {
			continue
		}
		item := ReportedItem{Op: i.Op, Group: i.Key.Kind.Group, Kind: i.Key.Kind.Kind, Namespace: i.Key.Namespace, Name: i.Key.Name,
			Path: i.Origin.Path, Line: i.Origin.Line, Adopted: i.Adopt}
		for _, d := range i.Diff {
			item.Fields = append(item.Fields, d.String())
		}
		r.Objects = append(r.Objects, item)
	}
	r.Objects = slices.Clip(r.Objects)
	return r
}
