package main

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

var (
	ended  = regexp.MustCompile(`(?m)^• (?:\[(\w+)\] )?\[[\d.]+ seconds\]\n(\[sig-[^\n]*)`)
	phase  = regexp.MustCompile(` \[(?:It|BeforeEach|AfterEach|DeferCleanup[^\]]*)\]`)
	labels = regexp.MustCompile(` \[[^\[\]]*, [^\[\]]*\]$`)
)

// readLog is how tests ended by what ginkgo printed meanwhile: if one of its processes crashes it writes no report. Known are
// the names that there may be.
func readLog(path string, known results) (results, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for name := range known {
		names[plain(name)] = name
	}
	out := results{}
	for _, m := range ended.FindAllStringSubmatch(string(b), -1) {
		name, ok := names[plain(labels.ReplaceAllString(phase.ReplaceAllString(m[2], ""), ""))]
		switch {
		case !ok || m[1] == "INTERRUPTED" || m[1] == "TIMEDOUT": // with the whole suite
		case m[1] == "":
			out[name] = passed
		default:
			out[name] = failed
		}
	}
	return out, nil
}

// plain is a name with single spaces.
func plain(name string) string { return strings.Join(strings.Fields(name), " ") }
