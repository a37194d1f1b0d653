package repo

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// What can be wrong with a remote. The errors that wrap these say how to mend it.
var (
	ErrURL         = errors.New("not a URL that can be fetched from")
	ErrAuth        = errors.New("not let in")
	ErrHostKey     = errors.New("the host's key is not trusted")
	ErrNoRemote    = errors.New("no repository there")
	ErrEmpty       = errors.New("the repository is empty: push a first commit")
	ErrNoRef       = errors.New("no such branch, tag or commit")
	ErrUnsupported = errors.New("not supported yet")
)

// A Remote is a repository elsewhere, and the commit of it that is wanted.
type Remote struct {
	URL     string // http, https, ssh://, or user@host:path
	Rev     Rev
	Auth    Credentials
	Limits  Limits
	Timeout time.Duration // of one Fetch
	Idle    time.Duration // without a byte, after which a Fetch is given up
}

// A Rev names a commit. At most one field is set; if none is, it is the branch main.
type Rev struct{ Branch, Tag, Commit string }

// RefName is the whole name of the branch or tag; "" for a commit.
func (r Rev) RefName() string {
	switch {
	case r.Commit != "":
		return ""
	case r.Tag != "":
		return "refs/tags/" + r.Tag
	case r.Branch != "":
		return "refs/heads/" + r.Branch
	}
	return "refs/heads/main"
}

func (r Rev) String() string {
	switch {
	case r.Commit != "":
		return "commit " + r.Commit
	case r.Tag != "":
		return "tag " + r.Tag
	}
	return "branch " + strings.TrimPrefix(r.RefName(), "refs/heads/")
}

// Check says what is wrong with r, if anything.
func (r Rev) Check() error {
	if r.Commit != "" {
		if r.Branch != "" || r.Tag != "" {
			return fmt.Errorf("name a branch, a tag or a commit, not several of them")
		}
		if _, err := tree.ParseHash(r.Commit); err != nil {
			return fmt.Errorf("the commit must be named by all 40 digits of its hash, this is %q", r.Commit)
		}
		return nil
	}
	if r.Branch != "" && r.Tag != "" {
		return fmt.Errorf("name a branch, a tag or a commit, not several of them")
	}
	return CheckRefName(r.RefName())
}

// Credentials are how to log in. All may be empty. They are never part of an error or a log line.
type Credentials struct {
	Username, Password string // over http
	Token              string // over http: a password without a name, as forges give them out
	Identity           []byte // a private SSH key
	Passphrase         string // of the key
	KnownHosts         []byte // lines of known_hosts; ssh refuses hosts that are not among them
	CA                 []byte // PEM certificates that sign the server's, besides those of the system
}

// An address is a URL taken apart.
type address struct {
	scheme string // http, https, ssh
	user   *url.Userinfo
	host   string // with the port, if one is given
	path   string
}

// String is the URL without anything secret.
func (a address) String() string {
	if a.scheme == "ssh" {
		return "ssh://" + a.host + "/" + strings.TrimPrefix(a.path, "/")
	}
	return a.base()
}

// base is the URL for requests, without the login.
func (a address) base() string {
	return (&url.URL{Scheme: a.scheme, Host: a.host, Path: a.path}).String()
}

// CheckURL says what is wrong with the URL of a remote, if anything.
func CheckURL(s string) error {
	_, err := parseURL(s)
	return err
}

func parseURL(s string) (address, error) {
	if !strings.Contains(s, "://") {
		return parseSCP(s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return address{}, fmt.Errorf("%w: it cannot be read", ErrURL) // not the text: there may be a password in it
	}
	if !slices.Contains([]string{"http", "https", "ssh"}, u.Scheme) {
		return address{}, fmt.Errorf("%w: %s:// is not among http, https, ssh and file", ErrURL, u.Scheme)
	}
	if strings.HasPrefix(u.Hostname(), "-") || u.Path == "" || u.Path == "/" {
		return address{}, fmt.Errorf("%w: %s", ErrURL, u.Redacted())
	}
	return address{u.Scheme, u.User, u.Host, u.Path}, nil
}

// parseSCP reads user@host:path, which is ssh.
func parseSCP(s string) (address, error) {
	where, path, ok := strings.Cut(s, ":")
	user, host, named := strings.Cut(where, "@")
	if !named {
		user, host = "", where
	}
	if !ok || host == "" || path == "" || strings.ContainsAny(where, "/ ") || strings.HasPrefix(host, "-") {
		return address{}, fmt.Errorf("%w: %q: write https://host/path, ssh://host/path, user@host:path or file:///path", ErrURL, s)
	}
	a := address{scheme: "ssh", host: host, path: path}
	if named {
		a.user = url.User(user)
	}
	return a, nil
}
