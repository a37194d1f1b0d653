package trigger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Files looks whenever something changes in a folder of this machine, or a repository of it moves a branch.
type Files struct {
	// Dirs are watched with all that is below them.
	Dirs []string
	// Flat are watched without what is below.
	Flat []string
	// Skip says which names do not count: nothing below such a folder is watched. nil: none.
	Skip func(name string, folder bool) bool
	Look func()

	Settle time.Duration // of quiet, after which to look; 0: 100 ms
	Limit  time.Duration // of unrest, after which to look all the same; 0: 1 s
	Rescan time.Duration // after which to look, and watch all folders anew, whatever happens; 0: 5 min
	Poll   time.Duration // between looks where the machine cannot watch; 0: 2 s
	Log    *slog.Logger  // says when it must poll; nil: nothing
}

// Folder watches a plain folder.
func Folder(dir string, look func()) *Files {
	return &Files{Dirs: []string{dir}, Skip: skipNoise, Look: look}
}

// Repository watches the branches and tags of a Git repository, bare or the .git of a folder.
func Repository(git string, look func()) *Files {
	lock := func(name string, folder bool) bool { return !folder && strings.HasSuffix(name, ".lock") }
	return &Files{Flat: []string{git}, Dirs: []string{filepath.Join(git, "refs")}, Skip: lock, Look: look}
}

// skipNoise leaves out hidden folders and what editors write beside a file.
func skipNoise(name string, folder bool) bool {
	if folder {
		return strings.HasPrefix(name, ".")
	}
	swap, _ := filepath.Match(".*.sw?", name)
	return swap || strings.HasSuffix(name, "~") || name == "4913" || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#")
}

// Run watches until ctx ends. It looks once at the start, since something may have changed before.
func (f *Files) Run(ctx context.Context) error {
	f.setDefaults()
	for ctx.Err() == nil {
		err := f.watch(ctx)
		if ctx.Err() != nil {
			break
		}
		f.Log.Warn("cannot watch files: polling", "dirs", f.Dirs, "every", f.Poll, "err", err)
		f.poll(ctx)
	}
	return ctx.Err()
}

func (f *Files) setDefaults() {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&f.Settle, 100 * time.Millisecond}, {&f.Limit, time.Second}, {&f.Rescan, 5 * time.Minute}, {&f.Poll, 2 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.usual
		}
	}
	if f.Skip == nil {
		f.Skip = func(string, bool) bool { return false }
	}
	if f.Log == nil {
		f.Log = slog.New(slog.DiscardHandler)
	}
}

// poll looks every so often, for as long as a rescan takes to come, after which watching is tried again.
func (f *Files) poll(ctx context.Context) {
	tick := time.NewTicker(f.Poll)
	defer tick.Stop()
	retry := time.After(f.Rescan)
	for {
		f.Look()
		select {
		case <-ctx.Done():
			return
		case <-retry:
			return
		case <-tick.C:
		}
	}
}

// watch looks when something happens, until watching fails.
func (f *Files) watch(ctx context.Context) error {
	w, err := fsnotify.NewBufferedWatcher(1024)
	if err != nil {
		return explain(err)
	}
	defer w.Close()
	if err := f.addAll(w); err != nil {
		return err
	}
	f.Look()
	rescan := time.NewTicker(f.Rescan)
	defer rescan.Stop()
	var u unrest
	due := time.NewTimer(0)
	defer due.Stop()
	<-due.C
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-w.Events:
			if matters, err := f.event(w, e); err != nil {
				return err
			} else if matters {
				due.Reset(u.event(time.Now(), f.Settle, f.Limit))
			}
		case <-w.Errors: // too much at once: what was missed is found by looking at everything
			if err := f.addAll(w); err != nil {
				return err
			}
			due.Reset(u.event(time.Now(), f.Settle, f.Limit))
		case <-due.C:
			u = unrest{}
			f.Look()
		case <-rescan.C:
			if err := f.addAll(w); err != nil {
				return err
			}
			f.Look()
		}
	}
}

// unrest is the time since something first happened that was not looked at yet.
type unrest struct{ since time.Time }

// event returns how long to wait for more before looking.
func (u *unrest) event(now time.Time, settle, limit time.Duration) time.Duration {
	if u.since.IsZero() {
		u.since = now
	}
	return max(min(settle, u.since.Add(limit).Sub(now)), 0)
}

// event says whether e means something, and watches a folder that is new. Which kind of event it is does not matter:
// editors save a file in half a dozen ways.
func (f *Files) event(w *fsnotify.Watcher, e fsnotify.Event) (matters bool, err error) {
	if (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) && (slices.Contains(f.Dirs, e.Name) || slices.Contains(f.Flat, e.Name)) {
		return false, fmt.Errorf("watch files: %s is gone", e.Name)
	}
	name := filepath.Base(e.Name)
	info, err := os.Lstat(e.Name)
	folder := err == nil && info.IsDir()
	if f.Skip(name, folder) {
		return false, nil
	}
	if folder && e.Has(fsnotify.Create) && f.below(e.Name) {
		return true, f.add(w, e.Name) // with what is in it already
	}
	return true, nil
}

// below says whether a path is in one of Dirs.
func (f *Files) below(path string) bool {
	for _, dir := range f.Dirs {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			return true
		}
	}
	return false
}

func (f *Files) addAll(w *fsnotify.Watcher) error {
	for _, dir := range f.Flat {
		if err := w.Add(dir); err != nil {
			return explain(err)
		}
	}
	for _, dir := range f.Dirs {
		if err := f.add(w, dir); err != nil {
			return err
		}
	}
	return nil
}

// add watches a folder and all below. A folder is watched before it is read, so nothing in it is missed.
func (f *Files) add(w *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != root {
			return nil // gone since
		}
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if path != root && f.Skip(d.Name(), true) {
			return fs.SkipDir
		}
		if err := w.Add(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return explain(err)
		}
		return nil
	})
}

// explain names the limit that is reached.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("watch files: the limit fs.inotify.max_user_watches is reached, raise it with sysctl: %w", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("watch files: the limit fs.inotify.max_user_instances is reached, raise it with sysctl: %w", err)
	}
	return fmt.Errorf("watch files: %w", err)
}
