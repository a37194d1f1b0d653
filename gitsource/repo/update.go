package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// An Update moves one ref. Old is zero if the ref must not exist yet, New if it is to go.
type Update struct {
	Name     string
	Old, New tree.Hash
}

var (
	// ErrMoved says that a ref is not what the update was made for.
	ErrMoved = errors.New("somebody else has pushed meanwhile: fetch first")
	// ErrAtomic says that an update was not made since another one of the same push could not be.
	ErrAtomic = errors.New("atomic push failed: another ref could not be updated")
)

// Update moves refs, and moves in what is in quarantine (which may be nil) before. Each ref is locked as Git does it, and
// moves only if it still has its old value. With atomic set either all move or none. The result has an error, or nil, for
// each update. What moved is durable.
func (r *Repository) Update(ctx context.Context, q *Quarantine, updates []Update, atomic bool) []error {
	r.writes.Lock()
	defer r.writes.Unlock()
	errs := make([]error, len(updates))
	locks := make([]*refLock, len(updates))
	defer func() {
		for _, l := range locks {
			l.release()
		}
	}()
	for _, i := range byName(updates) {
		if errs[i] = nested(updates, updates[i]); errs[i] == nil {
			locks[i], errs[i] = r.lock(ctx, updates[i])
		}
	}
	failed := func(err error) bool { return err != nil }
	if atomic && slices.ContainsFunc(errs, failed) {
		return fillNil(errs, ErrAtomic)
	}
	if q != nil && slices.Contains(errs, nil) {
		if err := q.moveIn(); err != nil {
			return fillNil(errs, err)
		}
	}
	for i, l := range locks {
		if errs[i] == nil {
			errs[i] = l.commit()
		}
	}
	return errs
}

// nested refuses a ref in a folder that another update of the same push makes a ref.
func nested(updates []Update, u Update) error {
	for _, other := range updates {
		if strings.HasPrefix(u.Name, other.Name+"/") && !other.New.IsZero() {
			return fmt.Errorf("%s cannot be made: %s is pushed, too", u.Name, other.Name)
		}
	}
	return nil
}

// byName is the order in which refs are locked, so that two pushes never wait for each other.
func byName(updates []Update) []int {
	order := make([]int, len(updates))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(updates[a].Name, updates[b].Name) })
	return order
}

func fillNil(errs []error, err error) []error {
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// A refLock is a <ref>.lock file, which keeps Git and others from moving the ref.
type refLock struct {
	repo   *Repository
	update Update
	path   string
	file   *os.File
}

const lockPatience = 500 * time.Millisecond

// lock takes the lock and checks the old value.
func (r *Repository) lock(ctx context.Context, u Update) (*refLock, error) {
	if err := CheckRefName(u.Name); err != nil {
		return nil, err
	}
	l := &refLock{repo: r, update: u, path: filepath.Join(r.dir, filepath.FromSlash(u.Name))}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return nil, fmt.Errorf("%s cannot be made: a branch or tag has the name of one of its folders", u.Name)
	}
	var err error
	if l.file, err = createExclusive(ctx, l.path+".lock"); err != nil {
		return nil, fmt.Errorf("lock %s: %w", u.Name, err)
	}
	if err := l.check(); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// check says whether the ref may move, now that nobody else can move it.
func (l *refLock) check() error {
	if info, err := os.Lstat(l.path); err == nil && info.IsDir() && os.Remove(l.path) != nil { // an empty one is a leftover
		return fmt.Errorf("%s cannot be made: it is the folder of another branch or tag", l.update.Name)
	}
	now, err := l.repo.Ref(l.update.Name)
	if err != nil && !errors.Is(err, tree.ErrNotFound) {
		return err
	}
	if now != l.update.Old {
		return ErrMoved
	}
	return nil
}

// createExclusive makes a file that is not there, and waits a little for one that is.
func createExclusive(ctx context.Context, path string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is there already", filepath.Base(path))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// release gives the lock back. It may be called again, and on nil.
func (l *refLock) release() {
	if l == nil || l.file == nil {
		return
	}
	l.file.Close()
	os.Remove(l.file.Name())
	l.file = nil
	l.removeEmptyFolders()
}

// commit moves the ref.
func (l *refLock) commit() error {
	if l.update.New.IsZero() {
		return l.remove()
	}
	f := l.file
	if err := writeAndSync(f, []byte(l.update.New.String()+"\n")); err != nil {
		return fmt.Errorf("write %s: %w", l.update.Name, err)
	}
	if err := os.Rename(f.Name(), l.path); err != nil {
		return fmt.Errorf("write %s: %w", l.update.Name, err)
	}
	l.file = nil
	return syncDir(filepath.Dir(l.path))
}

// remove takes the ref away wherever it is written.
func (l *refLock) remove() error {
	if err := l.repo.unpack(l.update.Name); err != nil {
		return fmt.Errorf("delete %s: %w", l.update.Name, err)
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", l.update.Name, err)
	}
	return syncDir(filepath.Dir(l.path))
}

// removeEmptyFolders tidies up below refs/heads and refs/tags.
func (l *refLock) removeEmptyFolders() {
	for name := filepath.Dir(filepath.FromSlash(l.update.Name)); strings.Count(name, string(filepath.Separator)) > 1; name = filepath.Dir(name) {
		if os.Remove(filepath.Join(l.repo.dir, name)) != nil {
			return
		}
	}
}

// unpack removes a ref from packed-refs, if it is there.
func (r *Repository) unpack(name string) error {
	data, err := os.ReadFile(filepath.Join(r.dir, packedRefs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var keep strings.Builder
	dropping, dropped := false, false
	for line := range strings.Lines(string(data)) {
		_, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		dropping = line[0] != '#' && (ref == name || dropping && line[0] == '^') // ^: what the tag above it names
		if dropped = cmp.Or(dropped, dropping); !dropping {
			keep.WriteString(line)
		}
	}
	if !dropped {
		return nil
	}
	return writeDurably(filepath.Join(r.dir, packedRefs), []byte(keep.String()))
}
