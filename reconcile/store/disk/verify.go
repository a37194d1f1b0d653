package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Report is what Verify has found.
type Report struct {
	Format   int            `json:"format"`
	Revision store.Revision `json:"revision"`
	Objects  int            `json:"objects"`
	Kinds    map[string]int `json:"kinds"`
	Bytes    int64          `json:"bytes"`   // on disk
	Notes    []string       `json:"notes"`   // what the next start does
	Damage   *Damage        `json:"-"`       // nil: all is well
	Found    []string       `json:"found"`   // what is wrong
	Lost     []string       `json:"lost"`    // objects that the next start with --accept-loss goes on without
	Partial  bool           `json:"partial"` // more may be lost
	Beyond   string         `json:"beyond"`  // why --accept-loss does not help
}

// Verify reads all of the store in dir and says what it found. It changes nothing: it opens a copy, in a folder that it makes
// in scratch and removes. The error may wrap ErrInUse or ErrFormat.
func Verify(ctx context.Context, dir, scratch string, codec Codec) (*Report, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("verify the store: %w", err)
	}
	held, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("verify the store in %s: %w", dir, err)
	}
	defer held.Close()
	copied, err := os.MkdirTemp(scratch, "store-check-")
	if err != nil {
		return nil, fmt.Errorf("verify the store: %w", err)
	}
	defer os.RemoveAll(copied)
	r := &Report{Format: format, Kinds: map[string]int{}, Notes: []string{}, Found: []string{}, Lost: []string{}}
	if r.Bytes, err = copyStore(ctx, dir, copied); err != nil {
		return nil, fmt.Errorf("verify the store: copy it: %w", err)
	}
	log := slog.New(&notes{report: r})
	err = r.load(copied, codec, Options{Log: log})
	damage, ok := errors.AsType[*Damage](err)
	if !ok {
		return r, err
	}
	r.tell(damage)
	if damage.Beyond {
		return r, nil
	}
	err = r.load(copied, codec, Options{AcceptLoss: true, Log: log})
	if damage, ok := errors.AsType[*Damage](err); ok {
		r.Beyond = strings.Join(damage.Found, "; ")
		return r, nil
	}
	return r, err
}

// tell adds what damage says.
func (r *Report) tell(d *Damage) {
	r.Damage = d
	r.Found, r.Partial = d.Found, d.Partial
	r.Lost = r.Lost[:0]
	for _, l := range d.Lost {
		r.Lost = append(r.Lost, l.String())
	}
	if d.Beyond {
		r.Beyond = strings.Join(d.Found, "; ")
	}
}

// load opens the copy and counts what is in it.
func (r *Report) load(dir string, codec Codec, opts Options) (err error) {
	b, err := Open(dir, codec, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if d := b.Accepted(); d != nil {
		r.tell(d)
	}
	revision, objects := b.Load()
	r.Revision, r.Objects = revision, 0
	clear(r.Kinds)
	for o, err := range objects {
		if err != nil {
			return err
		}
		r.Objects++
		r.Kinds[o.GetObjectKind().GroupVersionKind().Kind]++
	}
	return nil
}

// copyStore copies all files of a store that matter, and returns their size.
func copyStore(ctx context.Context, from, to string) (size int64, err error) {
	if err := os.Mkdir(filepath.Join(to, "badger"), 0o700); err != nil {
		return 0, err
	}
	for _, pattern := range []string{"revision", "roster", "badger/*"} {
		names, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil {
			return 0, err
		}
		for _, name := range names {
			local, err := filepath.Rel(from, name)
			if err != nil {
				return 0, err
			}
			n, err := copyFile(name, filepath.Join(to, local))
			if err := errors.Join(err, ctx.Err()); err != nil {
				return 0, err
			}
			size += n
		}
	}
	return size, nil
}

func copyFile(from, to string) (int64, error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}

// notes is a log that keeps what it is told for the report.
type notes struct{ report *Report }

func (n *notes) Enabled(_ context.Context, l slog.Level) bool { return l == slog.LevelInfo }
func (n *notes) WithAttrs([]slog.Attr) slog.Handler           { return n }
func (n *notes) WithGroup(string) slog.Handler                { return n }
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	n.report.Notes = append(n.report.Notes, r.Message)
	return nil
}
