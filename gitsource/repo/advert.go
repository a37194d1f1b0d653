package repo

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const maxAdvertised = 64 << 20 // bytes: some hundred thousand refs

// An advertisement is what a server says first: all its refs, and what it can do.
type advertisement struct {
	refs         []Ref
	capabilities []string
}

// readAdvertisement reads the refs up to the flush packet that ends them.
func readAdvertisement(r io.Reader) (advertisement, error) {
	var ad advertisement
	s := pktline.NewScanner(io.LimitReader(r, maxAdvertised))
	for first := true; s.Scan(); {
		line := strings.TrimSuffix(string(s.Bytes()), "\n")
		switch {
		case strings.HasPrefix(line, "# service="):
			if !s.Scan() || len(s.Bytes()) > 0 {
				return ad, fmt.Errorf("%w: what it says is not Git's", ErrNoRemote)
			}
			continue
		case line == "version 1", strings.HasPrefix(line, "shallow "):
			continue
		case line == "":
			return ad, ad.check()
		}
		if first {
			var caps string
			line, caps, _ = strings.Cut(line, "\x00")
			ad.capabilities = strings.Fields(caps)
			first = false
		}
		if err := ad.add(line); err != nil {
			return ad, err
		}
	}
	return ad, advertError(s.Err())
}

func advertError(err error) error {
	if refused, ok := errors.AsType[*pktline.ErrorLine](err); ok {
		return fmt.Errorf("%w: the server says: %s", ErrNoRemote, printable(refused.Text))
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read the list of branches: %w", err)
}

// add takes "hash name".
func (ad *advertisement) add(line string) error {
	hash, name, ok := strings.Cut(line, " ")
	if len(hash) == 64 {
		return errSHA256()
	}
	h, err := tree.ParseHash(hash)
	if !ok || err != nil {
		return fmt.Errorf("%w: what it says is not Git's", ErrNoRemote)
	}
	if name != "capabilities^{}" && !strings.HasSuffix(name, "^{}") {
		ad.refs = append(ad.refs, Ref{name, h})
	}
	return nil
}

func errSHA256() error {
	return fmt.Errorf("the repository names its objects by SHA-256: %w", ErrUnsupported)
}

func (ad *advertisement) check() error {
	if slices.Contains(ad.capabilities, "object-format=sha256") {
		return errSHA256()
	}
	if len(ad.refs) == 0 {
		return ErrEmpty
	}
	return nil
}

// can says whether the server has a capability.
func (ad *advertisement) can(capability string) bool {
	return slices.Contains(ad.capabilities, capability)
}

// resolve finds what rev names. byHash is false if it can only be had by fetching everything.
func (ad *advertisement) resolve(rev Rev) (want tree.Hash, byHash bool, err error) {
	if rev.Commit != "" {
		want, err = tree.ParseHash(rev.Commit)
		tip := slices.ContainsFunc(ad.refs, func(r Ref) bool { return r.Hash == want })
		return want, tip || ad.can("allow-reachable-sha1-in-want") || ad.can("allow-any-sha1-in-want"), err
	}
	want, err = find(ad.refs, rev)
	return want, true, err
}

// find is the hash of the branch or tag; the error names those that there are.
func find(refs []Ref, rev Rev) (tree.Hash, error) {
	name := rev.RefName()
	if i := slices.IndexFunc(refs, func(r Ref) bool { return r.Name == name }); i >= 0 {
		return refs[i].Hash, nil
	}
	folder := name[:strings.Index(name[len("refs/"):], "/")+len("refs/")+1]
	var others []string
	for _, r := range refs {
		if other, ok := strings.CutPrefix(r.Name, folder); ok {
			others = append(others, printable(other))
		}
	}
	return tree.Hash{}, fmt.Errorf("%w: %s; there %s", ErrNoRef, rev, listed(others))
}

func listed(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "is none at all"
	case n == 1:
		return "is " + names[0]
	case n > 10:
		return fmt.Sprintf("are %s and %d more", strings.Join(names[:10], ", "), n-10)
	}
	return "are " + strings.Join(names, ", ")
}
