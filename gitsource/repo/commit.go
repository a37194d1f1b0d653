package repo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

var (
	// ErrNotCommit says that a hash names something else than a commit.
	ErrNotCommit = errors.New("not a commit")
	// ErrDamaged says that the bytes on disk are not those that were written.
	ErrDamaged = errors.New("damaged on disk")
)

// A Commit is a state of a repository. The zero Commit is the one before all others, in which nothing is there.
type Commit struct {
	Hash, Tree tree.Hash
	Parents    []tree.Hash
	Author     string // "Name <address>"
	Subject    string // first paragraph of the message, on one line
	Time       time.Time
}

// IsZero says whether c is before all commits.
func (c Commit) IsZero() bool { return c.Hash.IsZero() }

// parseCommit reads a commit object. Of the header it minds what is used.
func parseCommit(h tree.Hash, data []byte) (Commit, error) {
	c := Commit{Hash: h}
	header, message, _ := bytes.Cut(data, []byte("\n\n"))
	for line := range strings.SplitSeq(string(header), "\n") {
		key, value, _ := strings.Cut(line, " ")
		var err error
		switch {
		case key == "tree" && c.Tree.IsZero():
			c.Tree, err = tree.ParseHash(value)
		case key == "parent":
			var parent tree.Hash
			parent, err = tree.ParseHash(value)
			c.Parents = append(c.Parents, parent)
		case key == "author":
			c.Author, _ = cutTime(printable(value))
		case key == "committer":
			_, c.Time = cutTime(value)
		}
		if err != nil {
			return Commit{}, fmt.Errorf("commit %s: %w", h.Short(), err)
		}
	}
	if c.Tree.IsZero() {
		return Commit{}, fmt.Errorf("commit %s has no tree: %w", h.Short(), ErrDamaged)
	}
	c.Subject = subject(message)
	return c, nil
}

// cutTime takes the seconds and the zone off "Name <address> 1700000000 +0100".
func cutTime(value string) (who string, when time.Time) {
	end := strings.LastIndexByte(value, '>')
	fields := strings.Fields(value[end+1:])
	if len(fields) != 2 {
		return value, time.Time{}
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	zone, err2 := strconv.Atoi(fields[1])
	if err != nil || err2 != nil {
		return value[:end+1], time.Time{}
	}
	offset := zone/100*3600 + zone%100*60
	return value[:end+1], time.Unix(seconds, 0).In(time.FixedZone("", offset))
}

func subject(message []byte) string {
	first, _, _ := strings.Cut(strings.TrimLeft(string(message), "\n"), "\n\n")
	return printable(strings.Join(strings.Fields(first), " "))
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// parseTag returns what an annotated tag names.
func parseTag(data []byte) (tree.Hash, error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	target, ok := strings.CutPrefix(string(line), "object ")
	if !ok {
		return tree.Hash{}, fmt.Errorf("tag: %w", ErrDamaged)
	}
	return tree.ParseHash(target)
}
