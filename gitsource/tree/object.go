// Package tree reads Git's trees and tells what differs between two of them, walking only what differs.
//
// It knows Git's formats and nothing of repositories: objects come through the interface Objects.
package tree

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Hash names an object: the SHA-1 of its kind, size and content. The zero Hash names nothing.
type Hash [sha1.Size]byte

// ParseHash reads the 40 hexadecimal digits of a hash.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return Hash{}, fmt.Errorf("parse hash %q: want %d hexadecimal digits", s, 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse hash %q: %w", s, err)
	}
	return h, nil
}

// HashOf is the hash of an object of that kind: "blob", "tree", "commit" or "tag".
func HashOf(kind string, content []byte) Hash {
	s := sha1.New()
	s.Write(strconv.AppendInt([]byte(kind+" "), int64(len(content)), 10))
	s.Write([]byte{0})
	s.Write(content)
	return Hash(s.Sum(nil))
}

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short is the first seven digits, as Git shows them to people.
func (h Hash) Short() string { return h.String()[:7] }

// IsZero says whether h names nothing.
func (h Hash) IsZero() bool { return h == Hash{} }

// A Mode is what an Entry stands for, with Git's numbers.
type Mode uint32

// The modes that Git writes. Old repositories have others; Parse maps them to these.
const (
	Folder     Mode = 0o040000
	File       Mode = 0o100644
	Executable Mode = 0o100755
	Symlink    Mode = 0o120000
	Submodule  Mode = 0o160000
)

// IsFile says whether the entry has content of its own, executable or not.
func (m Mode) IsFile() bool { return m == File || m == Executable }

// An Entry is one line of a tree. The zero Entry stands for an absent one.
type Entry struct {
	Name string
	Mode Mode
	Hash Hash // of the blob or tree; of the commit for a Submodule
}

// Objects hands out trees and blobs by hash. What it returns is shared: do not change it.
type Objects interface {
	// Tree returns the entries in Git's order. ErrNotFound: there is no such tree.
	Tree(Hash) ([]Entry, error)
	// Blob returns the content of a file. ErrNotFound: there is no such blob. ErrTooBig: it is over the limit.
	Blob(Hash) ([]byte, error)
}

var (
	// ErrNotFound says that an object, or what should lie under a path, is not there.
	ErrNotFound = errors.New("not found")
	// ErrTooBig says that a file or a tree is over a limit.
	ErrTooBig = errors.New("too big")
	// ErrBadTree says that the bytes of a tree are not what Git would write.
	ErrBadTree = errors.New("malformed tree")
)

// Parse reads the bytes of a tree object. Names that could lead out of a folder, double names and a wrong order are
// refused, so what it returns is safe to walk and to merge.
func Parse(data []byte) ([]Entry, error) {
	entries := make([]Entry, 0, bytes.Count(data, []byte{0}))
	for len(data) > 0 {
		e, rest, err := parseEntry(data)
		if err != nil {
			return nil, err
		}
		if n := len(entries); n > 0 && compare(entries[n-1], e) >= 0 {
			return nil, fmt.Errorf("%w: %q is not in order after %q", ErrBadTree, e.Name, entries[n-1].Name)
		}
		entries, data = append(entries, e), rest
	}
	if twice := doubleName(entries); twice != "" {
		return nil, fmt.Errorf("%w: %q is there twice", ErrBadTree, twice)
	}
	return entries, nil
}

func parseEntry(data []byte) (e Entry, rest []byte, err error) {
	space, end := bytes.IndexByte(data, ' '), bytes.IndexByte(data, 0)
	if space < 1 || end < space || len(data) < end+1+len(e.Hash) {
		return e, nil, fmt.Errorf("%w: cut short", ErrBadTree)
	}
	n, err := strconv.ParseUint(string(data[:space]), 8, 32)
	if err != nil {
		return e, nil, fmt.Errorf("%w: mode %q", ErrBadTree, data[:space])
	}
	e.Name = string(data[space+1 : end])
	e.Hash = Hash(data[end+1 : end+1+len(e.Hash)])
	if e.Mode, err = modeOf(n); err != nil {
		return e, nil, err
	}
	switch e.Name {
	case "", ".", "..", ".git":
		return e, nil, fmt.Errorf("%w: an entry is named %q", ErrBadTree, e.Name)
	}
	if strings.Contains(e.Name, "/") {
		return e, nil, fmt.Errorf("%w: the name %q has a slash in it", ErrBadTree, e.Name)
	}
	return e, data[end+1+len(e.Hash):], nil
}

func modeOf(n uint64) (Mode, error) {
	switch m := Mode(n); m & 0o170000 {
	case Folder, Symlink, Submodule:
		return m & 0o170000, nil
	case 0o100000:
		if m&0o100 != 0 {
			return Executable, nil
		}
		return File, nil
	}
	return 0, fmt.Errorf("%w: mode %o", ErrBadTree, n)
}

// compare orders entries as Git does: by name, where a folder's name ends in a slash.
func compare(a, b Entry) int {
	n := min(len(a.Name), len(b.Name))
	if c := strings.Compare(a.Name[:n], b.Name[:n]); c != 0 {
		return c
	}
	return int(a.at(n)) - int(b.at(n))
}

// at is the i-th byte of the name as Git sorts it; i is at most the length of the name.
func (e Entry) at(i int) byte {
	switch {
	case i < len(e.Name):
		return e.Name[i]
	case e.Mode == Folder:
		return '/'
	}
	return 0
}

// doubleName finds a file and a folder of one name: Git's order lets other entries stand between the two.
func doubleName(entries []Entry) string {
	entries = sorted(entries)
	for i := 1; i < len(entries); i++ {
		if entries[i].Name == entries[i-1].Name {
			return entries[i].Name
		}
	}
	return ""
}

func byName(a, b Entry) int { return strings.Compare(a.Name, b.Name) }

// Encode writes entries as the bytes of a tree object, in Git's order. It sorts entries in place.
func Encode(entries []Entry) []byte {
	slices.SortFunc(entries, compare)
	var b []byte
	for _, e := range entries {
		b = strconv.AppendUint(b, uint64(e.Mode), 8)
		b = append(b, ' ')
		b = append(b, e.Name...)
		b = append(b, 0)
		b = append(b, e.Hash[:]...)
	}
	return b
}

// IsLFSPointer says whether a blob stands for a file that Git LFS keeps elsewhere.
func IsLFSPointer(blob []byte) bool {
	return bytes.HasPrefix(blob, []byte("version https://git-lfs.github.com/spec/"))
}
