package decode

import (
	"bytes"
	"iter"
)

// A chunk is the text of one document in a file, without the line that separates it from the one before unless there is
// content on that line.
type chunk struct {
	data []byte
	line int // of its first byte, from 1
}

// split cuts a file at the lines that start a document (---) or end one (...). What holds only blanks, comments and
// directives is left out. Inside of a block or a quoted text such a line is not allowed, so no YAML is cut in two.
func split(data []byte) iter.Seq[chunk] {
	return func(yield func(chunk) bool) {
		line, start, startLine := 1, 0, 1
		emit := func(end int) bool {
			c := chunk{data[start:end], startLine}
			return blank(c.data) || yield(c)
		}
		for at := 0; at < len(data); line++ {
			next := len(data)
			if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
				next = at + i + 1
			}
			switch text := data[at:next]; {
			case marks(text, "---"):
				if !emit(at) {
					return
				}
				start, startLine = at, line
				if blank(text[3:]) {
					start, startLine = next, line+1
				}
			case marks(text, "..."):
				if !emit(at) {
					return
				}
				start, startLine = next, line+1
			}
			at = next
		}
		emit(len(data))
	}
}

// marks says whether line is the marker, alone or with something behind it.
func marks(line []byte, marker string) bool {
	if !bytes.HasPrefix(line, []byte(marker)) {
		return false
	}
	return len(line) == len(marker) || bytes.IndexByte([]byte(" \t\r\n"), line[len(marker)]) >= 0
}

// blank says whether there is nothing but white space, comments and directives.
func blank(data []byte) bool { return contentLine(data) < 0 }

// contentLine is the number of the first line that holds more, from 0; -1 if there is none.
func contentLine(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		trimmed := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
		if len(trimmed) > 0 && trimmed[0] != '#' && !directive(line) {
			return n
		}
		n++
	}
	return -1
}

func directive(line []byte) bool {
	return bytes.HasPrefix(line, []byte("%YAML ")) || bytes.HasPrefix(line, []byte("%TAG "))
}
