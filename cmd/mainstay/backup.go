package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/backup"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
	"github.com/mainstay-gitops/mainstay/reconcile/store/seal"
)

// backupPath is where the API of a running Mainstay hands out a backup.
const backupPath = "/mainstay/backup"

func newBackupCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that is stored to a file; Mainstay may be up or not",
		Long: `Writes one moment of the cluster to a file: every object, the certificate authority, the push token, the
built-in repositories and the registries' configuration: all that another machine needs to go on as this cluster. Left out are images and
mirrors, which are fetched again, and what containers wrote to volumes.

The file has the cluster's keys: it is readable by its owner only, and should be kept so. Secrets in it are encrypted, by keys
that are not in it: on another machine it can be restored only with a copy of DATA/keys/secrets, which is to be kept elsewhere.
The file is read back and checked before it gets its name. A Mainstay that is up also keeps a backup of its own each day,
the last seven of them, in DATA/snapshots.`,
		Example: `  mainstay backup /mnt/backups/cluster-$(date +%F).mainstay
  mainstay restore --replace /mnt/backups/cluster-2026-02-03.mainstay`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, size, err := writeBackup(args[0], func(w io.Writer) error {
				if _, up := at.running(); up {
					return fetchBackup(cmd.Context(), *at, w)
				}
				return backupOffline(*at, w)
			})
			if err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d objects at revision %d, %.1f MB; it has keys: keep it safe\n", args[0], h.Objects, h.Revision, float64(size)/1e6)
			fmt.Fprintf(cmd.OutOrStdout(), "its Secrets are encrypted: another machine needs a copy of %s too\n", at.secretKeys())
			return nil
		},
	}
}

// writeBackup makes the file path of what write writes. It appears whole and checked, or not at all.
func writeBackup(path string, write func(io.Writer) error) (h backup.Head, size int64, err error) {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return h, 0, err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	defer f.Close()
	if err := errors.Join(f.Chmod(0o600), write(f), f.Sync()); err != nil {
		return h, 0, err
	}
	if size, err = f.Seek(0, io.SeekEnd); err != nil {
		return h, 0, err
	}
	if h, err = backup.Read(io.NewSectionReader(f, 0, size), nil, backup.Sink{}); err != nil {
		return h, 0, err
	}
	return h, size, os.Rename(tmp, path)
}

// fetchBackup asks the Mainstay that is up.
func fetchBackup(ctx context.Context, at place, w io.Writer) error {
	c, err := connect(at)
	if err != nil {
		return err
	}
	c.http.Timeout = 0
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Host+backupPath, nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return unreachable(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	_, err = io.Copy(w, answer.Body)
	return err
}

// backupOffline reads the data folder itself.
func backupOffline(at place, w io.Writer) error {
	if _, err := os.Stat(at.under("store")); err != nil {
		return fmt.Errorf("nothing is stored in %s: name the data folder with --data", at.data)
	}
	s := scheme.New(scheme.Options{})
	codec, err := at.codec(s, seal.Load)
	if err != nil {
		return err
	}
	b, err := disk.Open(at.under("store"), codec, disk.Options{})
	if err != nil {
		return err
	}
	st, err := store.Open(b, s.Stored, store.Options{})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	hosted, err := repo.OpenHosted(at.under("repositories"))
	if err == nil {
		e, _ := at.endpoints() // without them the name of the node is not known, and that is all
		err = errors.Join((&backups{at, codec, st, hosted, e.Node}).write(w), hosted.Close())
	}
	return errors.Join(err, st.Close())
}

// backups writes what is stored to one stream, at any time.
type backups struct {
	place
	codec  backup.Codec
	store  store.Reader
	hosted *repo.Hosted
	node   string
}

// write takes the store first: so each commit that it speaks of is in the repositories.
func (b *backups) write(w io.Writer) error {
	s := b.store.Snapshot()
	dir, err := b.gather()
	if err != nil {
		return err
	}
	h := backup.Head{Mainstay: version, Node: b.node, Taken: time.Now().UTC(), Revision: s.Revision()}
	for _, k := range s.Stored() {
		h.Objects += s.Len(k)
	}
	return errors.Join(backup.Write(w, h, b.codec, objectsOf(s), os.DirFS(dir)), os.RemoveAll(dir))
}

// gather makes a folder of links to all files that belong to a backup.
func (b *backups) gather() (string, error) {
	if err := os.MkdirAll(b.snapshots(), 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(b.snapshots(), ".links-")
	if err != nil {
		return "", err
	}
	for _, part := range []string{"pki", "git-token", "registries"} {
		err = errors.Join(err, linkTree(b.under(part), filepath.Join(dir, part)))
	}
	if err := errors.Join(err, b.hosted.Link(filepath.Join(dir, "repositories"))); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// linkTree links a file, or all files in a folder. What is not there is left out.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if path == from && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		local, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, local), 0o700)
		}
		return os.Link(path, filepath.Join(to, local))
	})
}

func objectsOf(s *store.Snapshot) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for _, k := range s.Stored() {
			for o := range s.List(store.Select(k)) {
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// handler hands out a backup. What goes wrong on the way cuts it short, and then it is none.
func (b *backups) handler(log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/zstd")
		if err := b.write(w); err != nil {
			log.Warn("a backup was cut short", "error", err)
			panic(http.ErrAbortHandler)
		}
	})
}
