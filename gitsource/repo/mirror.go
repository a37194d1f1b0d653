package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/storer"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const (
	// fetchedRef is where a mirror keeps what it has fetched: the hash that the remote's ref had.
	fetchedRef = "refs/tags/fetched"
	// maxAdvance is how many objects a mirror takes one by one. If more have changed, fetching all anew is faster.
	maxAdvance = 2000
)

// A Mirror has one commit of a Remote on disk, without history. It is a cache: what does not look right is thrown away and
// fetched anew. It is safe for concurrent use.
type Mirror struct {
	dir    string
	remote Remote
	addr   address
	client client

	fetching sync.Mutex // held by Fetch

	mu      sync.Mutex
	current *Repository // one of the numbered folders in dir; nil: nothing fetched yet
}

// A client connects to a remote.
type client interface {
	dial(context.Context) (peer, error)
	close()
}

// OpenMirror opens the mirror of a remote in a folder of its own, and makes it if need be. Nothing is fetched yet.
func OpenMirror(dir string, remote Remote) (*Mirror, error) {
	m := &Mirror{dir: dir, remote: remote}
	if m.remote.Limits == (Limits{}) {
		m.remote.Limits = DefaultLimits()
	}
	if m.remote.Timeout == 0 {
		m.remote.Timeout = 10 * time.Minute
	}
	if m.remote.Idle == 0 {
		m.remote.Idle = time.Minute
	}
	if err := remote.Rev.Check(); err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	var err error
	if m.addr, err = parseURL(remote.URL); err != nil {
		return nil, fmt.Errorf("open mirror: %w", err)
	}
	if m.addr.scheme == "ssh" {
		m.client, err = newSSHClient(m.addr, remote.Auth)
	} else {
		m.client, err = newHTTPClient(m.addr, remote.Auth)
	}
	if err != nil {
		return nil, fmt.Errorf("open mirror of %s: %w", m.addr, err)
	}
	if m.current, err = openNewest(dir); err != nil {
		return nil, fmt.Errorf("open mirror of %s: %w", m.addr, err)
	}
	return m, nil
}

// openNewest opens the folder with the highest number and removes the others, which a fetch has replaced or not finished.
func openNewest(dir string) (*Repository, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var newest *Repository
	for n := range slices.Values(numbersDown(entries)) {
		r := &Repository{dir: filepath.Join(dir, strconv.Itoa(n))}
		if _, err := r.Ref(fetchedRef); err == nil && newest == nil {
			newest = r
		} else if err := os.RemoveAll(r.dir); err != nil {
			return nil, err
		}
	}
	return newest, nil
}

func numbersDown(entries []os.DirEntry) []int {
	var ns []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	slices.Reverse(ns)
	return ns
}

// Fetch asks the remote for its commit and returns it when all of it is here. If it is here already, that costs one
// question. What the remote is not to blame for is mended by fetching everything anew.
func (m *Mirror) Fetch(ctx context.Context) (Commit, error) {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	ctx, cancel := context.WithTimeout(ctx, m.remote.Timeout)
	defer cancel()
	c, err := m.converse(ctx, m.repository())
	if err != nil && m.mendable(ctx, err) {
		c, err = m.converse(ctx, nil)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return Commit{}, fmt.Errorf("fetch %s from %s: %w", m.remote.Rev, m.addr, err)
	}
	return c, nil
}

// mendable says whether it may help to forget what is here.
func (m *Mirror) mendable(ctx context.Context, err error) bool {
	if m.repository() == nil || ctx.Err() != nil {
		return false
	}
	for _, remotes := range []error{ErrAuth, ErrHostKey, ErrNoRemote, ErrEmpty, ErrNoRef, ErrUnsupported} {
		if errors.Is(err, remotes) {
			return false
		}
	}
	return true
}

// converse is one conversation with the remote. into is what is here, or nil.
func (m *Mirror) converse(ctx context.Context, into *Repository) (Commit, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alarm := time.AfterFunc(m.remote.Idle, func() {
		cancel(fmt.Errorf("the server has sent nothing for %s", m.remote.Idle))
	})
	defer alarm.Stop()
	c, err := m.talk(ctx, into, func(r io.Reader) io.Reader { return lively{r, alarm, m.remote.Idle} })
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return c, err
}

// lively puts off the alarm whenever something is read.
type lively struct {
	io.Reader
	alarm *time.Timer
	idle  time.Duration
}

func (l lively) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	if n > 0 {
		l.alarm.Reset(l.idle)
	}
	return n, err
}

func (m *Mirror) talk(ctx context.Context, into *Repository, watch func(io.Reader) io.Reader) (Commit, error) {
	p, err := m.client.dial(ctx)
	if err != nil {
		return Commit{}, err
	}
	defer p.close()
	greeting, err := p.advertise(ctx)
	if err != nil {
		return Commit{}, err
	}
	ad, err := readAdvertisement(watch(greeting))
	greeting.Close()
	if err != nil {
		return Commit{}, err
	}
	want, byHash, err := ad.resolve(m.remote.Rev)
	if err != nil {
		return Commit{}, err
	}
	have, at := standing(into)
	if at == want && !have.IsZero() {
		return have, nil
	}
	req := newRequest(ad, []tree.Hash{want}, have.Hash, 1)
	if !byHash {
		req = newRequest(ad, everything(ad), tree.Hash{}, 0)
	}
	answer, err := p.ask(ctx, req.encode())
	if err != nil {
		return Commit{}, err
	}
	defer answer.Close()
	return m.take(into, req, want, watch(answer))
}

// everything are the tips of all branches and tags.
func everything(ad advertisement) []tree.Hash {
	var wants []tree.Hash
	for _, r := range ad.refs {
		if CheckRefName(r.Name) == nil && !slices.Contains(wants, r.Hash) {
			wants = append(wants, r.Hash)
		}
	}
	return wants
}

// standing is the commit that is here and readable, and the hash that the remote's ref had when it was fetched.
func standing(r *Repository) (Commit, tree.Hash) {
	if r == nil {
		return Commit{}, tree.Hash{}
	}
	at, err := r.Ref(fetchedRef)
	if err != nil {
		return Commit{}, tree.Hash{}
	}
	c, err := r.verify(at)
	if err != nil {
		return Commit{}, tree.Hash{}
	}
	return c, at
}

// verify returns the commit, if it and the root of its tree can be read.
func (r *Repository) verify(h tree.Hash) (Commit, error) {
	rd, err := r.Reader()
	if err != nil {
		return Commit{}, err
	}
	defer rd.Close()
	c, err := rd.Commit(h)
	if err != nil {
		return Commit{}, err
	}
	_, err = rd.Tree(c.Tree)
	return c, err
}

// take stores the answer to req: what is new into the repository that is here, all of it into a new one.
func (m *Mirror) take(into *Repository, req request, want tree.Hash, answer io.Reader) (Commit, error) {
	if req.have.IsZero() {
		into = nil
	}
	target := into
	if into == nil {
		var err error
		if target, err = m.next(); err != nil {
			return Commit{}, err
		}
	}
	c, err := target.fill(req, want, m.remote.Limits, answer)
	if into == nil {
		if err != nil {
			return Commit{}, errors.Join(err, target.doom())
		}
		return c, m.replace(target)
	}
	return c, err
}

// next makes the next numbered folder.
func (m *Mirror) next() (*Repository, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	n := 1
	if ns := numbersDown(entries); len(ns) > 0 {
		n = ns[0] + 1
	}
	return Init(filepath.Join(m.dir, strconv.Itoa(n)))
}

// replace makes r the repository of the mirror, and removes the old one when nobody reads in it any more.
func (m *Mirror) replace(r *Repository) error {
	m.mu.Lock()
	old := m.current
	m.current = r
	m.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.doom()
}

func (m *Mirror) repository() *Repository {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// fill stores what the answer brings, checks that the commit is there, and notes it.
func (r *Repository) fill(req request, want tree.Hash, limits Limits, answer io.Reader) (Commit, error) {
	packs := filepath.Join(r.dir, "objects", "pack")
	s := &spool{dir: packs, limit: limits.Pack}
	defer s.close()
	if err := req.readPack(answer, s); err != nil {
		return Commit{}, err
	}
	n, _, err := prescan(s.reader(), limits)
	if err != nil {
		return Commit{}, fmt.Errorf("the remote sent a pack that is not taken: %w", err)
	}
	if req.have.IsZero() {
		_, err = index(s, packs)
		r.changed()
	} else {
		err = r.advance(s, n)
	}
	if err != nil {
		return Commit{}, err
	}
	c, err := r.verify(want)
	if err != nil {
		return Commit{}, fmt.Errorf("the remote has left something out: %w", err)
	}
	return c, r.note(want, c, req.depth > 0)
}

// advance adds the objects of a thin pack to those that are here, one file each.
func (r *Repository) advance(s *spool, objects int) error {
	loose, err := filepath.Glob(filepath.Join(r.dir, "objects", "[0-9a-f][0-9a-f]", "*"))
	if err != nil {
		return err
	}
	if objects+len(loose) > maxAdvance {
		return fmt.Errorf("%w: %d objects have changed", ErrTooMuch, objects)
	}
	st := openStorage(r.dir)
	defer st.Close()
	return explode(s.reader(), struct{ storer.EncodedObjectStorer }{st}) // without its own way to write packs, which cannot complete thin ones
}

// note writes down what was fetched. For Git's own tools the commit is marked as one without history.
func (r *Repository) note(want tree.Hash, c Commit, shallow bool) error {
	if shallow {
		if err := os.WriteFile(filepath.Join(r.dir, "shallow"), []byte(c.Hash.String()+"\n"), 0o644); err != nil {
			return err
		}
	}
	return writeDurably(filepath.Join(r.dir, filepath.FromSlash(fetchedRef)), []byte(want.String()+"\n"))
}

// Reader reads what was fetched, for one goroutine. Close it.
func (m *Mirror) Reader() (*Reader, error) {
	for {
		r := m.repository()
		if r == nil {
			return nil, fmt.Errorf("read mirror of %s: nothing was fetched yet: %w", m.addr, tree.ErrNotFound)
		}
		rd, err := r.Reader()
		if err == nil || m.repository() == r {
			return rd, err
		}
	}
}

// Forget throws away what is here, since it is damaged; the next Fetch gets it anew.
func (m *Mirror) Forget() error {
	m.fetching.Lock()
	defer m.fetching.Unlock()
	return m.replace(nil)
}

// Close ends connections and closes files. What was fetched stays on disk.
func (m *Mirror) Close() error {
	m.client.close()
	if r := m.repository(); r != nil {
		return r.Close()
	}
	return nil
}
