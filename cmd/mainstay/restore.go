package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/backup"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
	"github.com/mainstay-gitops/mainstay/reconcile/store/seal"
)

func newRestoreCommand(at *place) *cobra.Command {
	var replace bool
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring back what mainstay backup, or a daily snapshot, has kept",
		Long: `Makes the data folder what it was when the backup was taken; the next mainstay up then starts what ran.
The whole file is checked before anything is touched. The folder must have no store yet, or --replace must be
said: then what is there is moved to a folder of its own beside it. Mainstay must not be up.

Secrets in the file are encrypted. On another machine, first bring the keys of the old one to DATA/keys/secrets.

On another machine, start with --node and the name that the node had (it is printed), or delete the old node
afterwards, so that its pods move: kubectl delete node NAME.`,
		Example: `  mainstay restore cluster.mainstay && mainstay up
  ls /var/lib/mainstay/snapshots
  mainstay restore --replace /var/lib/mainstay/snapshots/2026-02-03T040500Z.mainstay`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &restorer{place: *at}
			if err := r.restore(args[0], replace, time.Now()); err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "restored %d objects as of %s, revision %d, of node %s\n", r.head.Objects, r.head.Taken.Format(time.DateTime), r.head.Revision, r.head.Node)
			if r.moved != "" {
				fmt.Fprintf(out, "what was there before is in %s: remove it when it is not needed any more\n", r.moved)
			}
			fmt.Fprintln(out, "now: mainstay up")
			return nil
		},
	}
	c.Flags().BoolVar(&replace, "replace", false, "move what is stored in the data folder out of the way")
	return c
}

// A restorer makes a data folder of a backup.
type restorer struct {
	place
	codec seal.Codec
	head  backup.Head
	moved string // where what was there is now
	fill  *disk.Restore
}

// restored are the parts of a data folder that a backup has.
var restored = [...]string{"store", "pki", "git-token", "repositories", "registries"}

// prepared is where a restore is made, halfway where it is from then on until all is in its place: while that is there, the
// data folder is neither the old nor the new one.
func (p place) prepared() string { return p.under("restore-prepared") }
func (p place) halfway() string  { return p.under("restore-halfway") }

// wholeData fails if a restore was cut short when it had begun to move things.
func (p place) wholeData() error {
	if _, err := os.Stat(p.halfway()); err == nil {
		return fmt.Errorf("a restore into %s was cut short: run mainstay restore --replace FILE again", p.data)
	}
	return nil
}

func (r *restorer) restore(file string, replace bool, now time.Time) error {
	if e, up := r.running(); up {
		return fmt.Errorf("a Mainstay is up with its data in %s (process %d): end it first", r.data, e.PID)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if r.codec, err = r.place.codec(scheme.New(scheme.Options{}), seal.Look); err != nil {
		return err
	}
	if _, err := backup.Read(f, r.codec, backup.Sink{}); err != nil {
		return fmt.Errorf("%s: %w; nothing was touched", file, err)
	}
	if _, err := os.Stat(r.under("store")); err == nil && !replace {
		return fmt.Errorf("%s has a store already: --replace moves it out of the way", r.data)
	}
	least := disk.LastRevision(r.under("store"))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if r.codec, err = r.place.codec(scheme.New(scheme.Options{}), seal.Load); err != nil {
		return err
	}
	if err := r.prepare(f, least); err != nil {
		return errors.Join(err, os.RemoveAll(r.prepared()))
	}
	return r.putInPlace(now)
}

// prepare makes everything in a folder of its own.
func (r *restorer) prepare(f io.Reader, least store.Revision) (err error) {
	if err := errors.Join(os.RemoveAll(r.prepared()), os.MkdirAll(r.prepared(), 0o700)); err != nil {
		return err
	}
	if r.fill, err = disk.NewRestore(filepath.Join(r.prepared(), "store"), r.codec, disk.Options{}); err != nil {
		return err
	}
	h, err := backup.Read(f, r.codec, backup.Sink{Object: r.fill.Add, File: r.file})
	if err != nil {
		return errors.Join(err, r.fill.Abort())
	}
	r.head = h
	if err := r.fill.Finish(h.Revision, least); err != nil {
		return err
	}
	return syncTree(r.prepared())
}

// file writes a file of the backup.
func (r *restorer) file(name string, mode fs.FileMode, content io.Reader) error {
	path := filepath.Join(r.prepared(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// putInPlace moves what is there out of the way, and what was prepared to where it belongs. When it is cut short it must be
// done again.
func (r *restorer) putInPlace(now time.Time) error {
	if err := errors.Join(os.RemoveAll(r.halfway()), os.Rename(r.prepared(), r.halfway()), syncFolder(r.data)); err != nil {
		return err
	}
	old := r.under("replaced-" + now.UTC().Format("2006-01-02T150405Z"))
	for _, part := range restored {
		if _, err := os.Lstat(filepath.Join(r.halfway(), part)); errors.Is(err, fs.ErrNotExist) {
			continue // the backup has none: what is there stays
		}
		if _, err := os.Lstat(r.under(part)); err == nil {
			if err := errors.Join(os.MkdirAll(old, 0o700), os.Rename(r.under(part), filepath.Join(old, part))); err != nil {
				return err
			}
			r.moved = old
		}
		if err := os.Rename(filepath.Join(r.halfway(), part), r.under(part)); err != nil {
			return err
		}
	}
	return errors.Join(syncFolder(r.data), os.RemoveAll(r.halfway()))
}

// syncTree makes the names in all folders below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncFolder(path)
	})
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
