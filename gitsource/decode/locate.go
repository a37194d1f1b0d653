package decode

import (
	"bytes"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Locate returns the line, from 1, on which a field stands in the document of that index (Origin.Index). If the field is
// not there it is the line of the nearest field that should hold it; if the document is not there, or is no YAML, 1.
func Locate(data []byte, index int, fieldPath string) int {
	if index < 0 {
		return 1
	}
	for c := range split(data) {
		docs := parseNodes(c)
		if index < len(docs) {
			return docs[index].line(fieldPath)
		}
		index -= len(docs)
	}
	return 1
}

// A located document knows its lines.
type located struct {
	root   *yaml.Node
	first  int // the line on which it starts
	offset int // lines before the chunk that it was parsed from
}

// documents are those of one chunk: one, or each item of a List.
type documents []located

// at is the document of that place, or the last one: the decoder may have seen more.
func (ds documents) at(i int) located {
	if len(ds) == 0 {
		return located{first: 1}
	}
	return ds[min(i, len(ds)-1)]
}

// parseNodes parses a chunk for its lines.
func parseNodes(c chunk) documents {
	whole := located{first: c.line + max(contentLine(c.data), 0), offset: c.line - 1}
	var doc yaml.Node
	if err := yaml.Unmarshal(c.data, &doc); err != nil || len(doc.Content) == 0 {
		return documents{whole}
	}
	whole.root = follow(doc.Content[0])
	kind, items := child(whole.root, "kind"), follow(child(whole.root, "items"))
	name := child(child(whole.root, "metadata"), "name")
	if kind == nil || !isList(kind.Value, name != nil) || items == nil || items.Kind != yaml.SequenceNode {
		return documents{whole}
	}
	docs := make(documents, len(items.Content))
	for i, item := range items.Content {
		docs[i] = located{root: follow(item), first: item.Line + whole.offset, offset: whole.offset}
	}
	return docs
}

// line of a field, or of what should hold it.
func (l located) line(fieldPath string) int {
	line, at := l.first, l.root
	for rest := fieldPath; rest != "" && at != nil; {
		where, value, more := step(at, rest, 0)
		if value == nil {
			break
		}
		line, at, rest = where+l.offset, follow(value), more
	}
	return line
}

// step follows the first part of a field path. Keys may have dots in them, so the longest key that fits is taken.
func step(n *yaml.Node, path string, merges int) (line int, value *yaml.Node, rest string) {
	switch n.Kind {
	case yaml.SequenceNode:
		digits, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.Atoi(digits)
		if !ok || err != nil || i < 0 || i >= len(n.Content) {
			return 0, nil, ""
		}
		return n.Content[i].Line, n.Content[i], rest
	case yaml.MappingNode:
		return stepInto(n, path, merges)
	}
	return 0, nil, ""
}

func stepInto(n *yaml.Node, path string, merges int) (line int, value *yaml.Node, rest string) {
	longest := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if more, ok := cutKey(path, key.Value); ok && len(key.Value) > longest {
			longest, line, value, rest = len(key.Value), key.Line, n.Content[i+1], more
		}
	}
	if longest >= 0 {
		return line, value, rest
	}
	if merged := child(n, "<<"); merged != nil && merges < 10 {
		for _, from := range mergeSources(merged) {
			if line, value, rest := step(from, path, merges+1); value != nil {
				return line, value, rest
			}
		}
	}
	return 0, nil, ""
}

// cutKey removes key from the front of a field path, where it stands as .key or as [key].
func cutKey(path, key string) (rest string, ok bool) {
	if rest, ok := strings.CutPrefix(path, "["+key+"]"); ok {
		return rest, true
	}
	rest, ok = strings.CutPrefix(strings.TrimPrefix(path, "."), key)
	return rest, ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func mergeSources(n *yaml.Node) []*yaml.Node {
	if n = follow(n); n.Kind != yaml.SequenceNode {
		return []*yaml.Node{n}
	}
	var from []*yaml.Node
	for _, c := range n.Content {
		from = append(from, follow(c))
	}
	return from
}

// child is the value under a key; nil if n is no mapping, or has none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n = follow(n); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// follow resolves an alias.
func follow(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// expandsBeyond says whether a document grows over limit bytes when its aliases are followed. Without aliases it is not
// parsed.
func expandsBeyond(data []byte, limit int64) bool {
	if bytes.IndexByte(data, '&') < 0 || bytes.IndexByte(data, '*') < 0 {
		return false
	}
	var doc yaml.Node
	if yaml.Unmarshal(data, &doc) != nil {
		return false // the decoder will say what is wrong
	}
	return expanded(&doc, limit, map[*yaml.Node]int64{}) > limit
}

// expanded is the size of a node with its aliases followed, or something over limit. A node inside of itself is endless.
func expanded(n *yaml.Node, limit int64, known map[*yaml.Node]int64) int64 {
	if size, ok := known[n]; ok {
		return size
	}
	known[n] = limit + 1 // while it is being counted
	size := int64(len(n.Value)) + 8
	if n.Alias != nil {
		size = expanded(n.Alias, limit, known)
	}
	for _, c := range n.Content {
		size = min(size+expanded(c, limit, known), limit+1)
	}
	known[n] = size
	return size
}
