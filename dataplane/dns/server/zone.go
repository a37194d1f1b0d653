// Package server answers DNS questions: about the cluster from a file that the daemon writes, about the rest of the world
// by asking others. It links little, since it runs in a small process of its own that outlives the daemon.
package server

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// The file is text. Its first line is a Header; each further line is a Record, in the order of bytes. An owner's labels
// stand in reverse, with spaces between, so that a name is next to what is below it.

// magic begins a file, and says its format. Whoever changes the format changes it.
const magic = "mainstay-dns-1"

// A Header says what the file is about.
type Header struct {
	Domain string         // of the cluster, such as cluster.local.
	Ranges []netip.Prefix // of the cluster: reverse questions about their addresses are answered from the file alone
}

func (h Header) String() string {
	words := []string{magic, h.Domain}
	for _, r := range h.Ranges {
		words = append(words, r.String())
	}
	return strings.Join(words, " ")
}

func parseHeader(line string) (h Header, err error) {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != magic {
		return h, fmt.Errorf("it does not begin with %q and a domain", magic)
	}
	h.Domain = words[1]
	for _, w := range words[2:] {
		r, err := netip.ParsePrefix(w)
		if err != nil {
			return h, err
		}
		h.Ranges = append(h.Ranges, r)
	}
	return h, nil
}

// A Record is one line: an owner, a type, and data.
type Record struct {
	Name string // absolute and in lower case
	Type string // A, CNAME, PTR, SRV, TXT, or Pods: the owner is the domain of a namespace's pods
	Data string // as in a zone file; names are absolute
}

// Pods is a type of our own. Names below its owner are addresses with dashes for dots.
const Pods = "PODS"

func (r Record) String() string { return reverse(r.Name) + "\t" + r.Type + "\t" + r.Data }

// reverse is the form in which names are sorted: the last label first.
func reverse(name string) string {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, " ")
}

// A zone is what a file says. It never changes.
type zone struct {
	Header
	lines []byte // sorted
}

// readZone reads a file.
func readZone(path string) (*zone, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseZone(data)
}

func parseZone(data []byte) (*zone, error) {
	first, rest, ok := bytes.Cut(data, []byte("\n"))
	if !ok || len(rest) > 0 && rest[len(rest)-1] != '\n' {
		return nil, errors.New("it is cut off")
	}
	h, err := parseHeader(string(first))
	if err != nil {
		return nil, err
	}
	return &zone{h, rest}, nil
}

// find is where the first line begins that is not before key.
func (z *zone) find(key string) int {
	from, to := 0, len(z.lines) // both at the beginnings of lines
	for from < to {
		middle := from + (to-from)/2
		start := from + bytes.LastIndexByte(z.lines[from:middle], '\n') + 1
		end := start + bytes.IndexByte(z.lines[start:], '\n')
		if string(z.lines[start:end]) < key {
			from = end + 1
		} else {
			to = start
		}
	}
	return from
}

// below yields the lines from the first that begins with prefix on, as long as they do.
func (z *zone) below(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := z.lines[z.find(prefix):]
		for bytes.HasPrefix(rest, []byte(prefix)) {
			line, after, _ := bytes.Cut(rest, []byte("\n"))
			if !yield(string(line[len(prefix):])) {
				return
			}
			rest = after
		}
	}
}

// records are those of a name, in lower case.
func (z *zone) records(name string) (rs []Record) {
	for line := range z.below(reverse(name) + "\t") {
		kind, data, _ := strings.Cut(line, "\t")
		rs = append(rs, Record{name, kind, data})
	}
	return rs
}

// exists tells whether there is something below a name, so that the name exists even without records.
func (z *zone) exists(name string) bool {
	for range z.below(reverse(name) + " ") {
		return true
	}
	return false
}
