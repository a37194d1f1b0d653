package render

import (
	"path"
	"strings"
)

// A pattern is one line of an ignore file, in gitignore's syntax.
type pattern struct {
	names    []string // between the slashes; "**" stands for any number of folders
	anywhere bool     // no slash but at the end: matches a name in any folder below
	include  bool     // "!": takes back what an earlier line ignored
	folder   bool     // "/" at the end: folders only
}

// parseIgnore reads the lines of an ignore file. What Git would not understand matches nothing.
func parseIgnore(data []byte) []pattern {
	var ps []pattern
	text := strings.TrimPrefix(string(data), "\ufeff")
	for line := range strings.Lines(text) {
		if p, ok := parsePattern(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")); ok {
			ps = append(ps, p)
		}
	}
	return ps
}

func parsePattern(line string) (pattern, bool) {
	line = trimSpaces(line)
	if line == "" || line[0] == '#' {
		return pattern{}, false
	}
	var p pattern
	if line[0] == '!' {
		p.include, line = true, line[1:]
	}
	line, p.folder = strings.CutSuffix(line, "/")
	p.anywhere = !strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return pattern{}, false
	}
	p.names = strings.Split(line, "/")
	return p, true
}

// trimSpaces removes the spaces at the end, but for those that a backslash keeps.
func trimSpaces(line string) string {
	for strings.HasSuffix(line, " ") {
		rest := line[:len(line)-1]
		if backslashes := len(rest) - len(strings.TrimRight(rest, `\`)); backslashes%2 == 1 {
			return line
		}
		line = rest
	}
	return line
}

// matches says whether p means the file or folder at names, which are relative to the folder of the ignore file.
func (p pattern) matches(names []string, folder bool) bool {
	if p.folder && !folder {
		return false
	}
	if p.anywhere {
		return matchName(p.names[0], names[len(names)-1])
	}
	return matchNames(p.names, names)
}

// matchNames matches whole paths. Each "**" is tried greedily from the left, and only the last one that was met is tried
// again, so the time is the product of the two lengths at most.
func matchNames(pattern, names []string) bool {
	p, n := 0, 0
	star, starN := -1, 0
	for n < len(names) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			if p == len(pattern)-1 {
				return true // "a/**": everything inside, and at least one name is left
			}
			star, starN = p, n
			p++
		case p < len(pattern) && matchName(pattern[p], names[n]):
			p, n = p+1, n+1
		case star >= 0:
			starN++
			p, n = star+1, starN
		default:
			return false
		}
	}
	return p == len(pattern)
}

// matchName matches one name against *, ? and [classes].
func matchName(pattern, name string) bool {
	ok, err := path.Match(translate(pattern), name)
	return err == nil && ok
}

// translate writes a pattern of Git's for package path: [!a] as [^a], and "**" within a name as "*".
func translate(pattern string) string {
	if !strings.Contains(pattern, "[!") && !strings.Contains(pattern, "**") {
		return pattern
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		b.WriteByte(pattern[i])
		switch rest := pattern[i+1:]; {
		case rest == "":
		case pattern[i] == '\\':
			b.WriteByte(rest[0])
			i++
		case pattern[i] == '[' && rest[0] == '!':
			b.WriteByte('^')
			i++
		case pattern[i] == '*':
			i += len(rest) - len(strings.TrimLeft(rest, "*"))
		}
	}
	return b.String()
}
