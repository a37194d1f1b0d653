package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// ErrChanged says that a file is not any more what it was when the folder was looked at. Look again.
var ErrChanged = errors.New("the file has changed since the folder was looked at")

// keepLooks is how many looks at a folder can be compared with each other: the applied one, the newest, and some between.
const keepLooks = 4

// A Folder is a plain folder, without Git, that is read as if it were committed at each look. Its commits exist only here:
// their hash is that of their tree. It is safe for concurrent use.
type Folder struct {
	dir  string
	want func(name string, folder bool) bool

	mu    sync.Mutex
	files map[string]seenFile // by path, as of the last look
	looks []look              // the latest last
}

// A look is the folder at one time. It does not change.
type look struct {
	root  tree.Hash
	trees map[tree.Hash][]tree.Entry
	blobs map[tree.Hash]string // where it was, below dir
}

// A seenFile is a file whose content is known as long as it looks the same.
type seenFile struct {
	stat stat
	blob tree.Hash
}

type stat struct {
	size, inode    int64
	mtime, ctime   int64 // nanoseconds
	mode           fs.FileMode
	hashedTooClose bool // it may change again without looking different
}

// OpenFolder reads a plain folder. want says which names are worth a look, for files and for folders.
func OpenFolder(dir string, want func(name string, folder bool) bool) (*Folder, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no folder")
	}
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	return &Folder{dir: dir, want: want, files: map[string]seenFile{}}, nil
}

// Dir is the folder.
func (f *Folder) Dir() string { return f.dir }

// Fetch looks at the folder. Only files that look different from last time are read.
func (f *Folder) Fetch(ctx context.Context) (Commit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := looker{ctx: ctx, folder: f, files: map[string]seenFile{}, look: look{
		trees: map[tree.Hash][]tree.Entry{}, blobs: map[tree.Hash]string{},
	}}
	root, err := l.walk("", 0)
	if err != nil {
		return Commit{}, fmt.Errorf("read folder %s: %w", f.dir, err)
	}
	l.root = root
	f.files = l.files
	if n := len(f.looks); n > 0 && f.looks[n-1].root == root {
		f.looks[n-1] = l.look
	} else if f.looks = append(f.looks, l.look); len(f.looks) > keepLooks {
		f.looks = f.looks[1:]
	}
	return Commit{Hash: root, Tree: root, Subject: "the folder " + f.dir, Time: time.Unix(0, l.newest)}, nil
}

// A looker walks the folder once.
type looker struct {
	ctx    context.Context
	folder *Folder
	files  map[string]seenFile
	newest int64
	look
}

func (l *looker) walk(dir string, depth int) (tree.Hash, error) {
	if err := l.ctx.Err(); err != nil {
		return tree.Hash{}, err
	}
	if depth > tree.MaxDepth {
		return tree.Hash{}, fmt.Errorf("%s: folders are nested too deep: %w", dir, tree.ErrTooBig)
	}
	names, err := os.ReadDir(filepath.Join(l.folder.dir, dir))
	if err != nil {
		return tree.Hash{}, err
	}
	var entries []tree.Entry
	for _, name := range names {
		if !l.folder.want(name.Name(), name.IsDir()) {
			continue
		}
		e, err := l.entry(tree.Join(dir, name.Name()), name, depth)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone while we looked
		}
		if err != nil {
			return tree.Hash{}, err
		}
		if e.Mode != 0 {
			entries = append(entries, e)
		}
	}
	h := tree.HashOf("tree", tree.Encode(entries))
	if n := len(l.folder.looks); n > 0 {
		if same, ok := l.folder.looks[n-1].trees[h]; ok {
			entries = same
		}
	}
	l.trees[h] = entries
	return h, nil
}

func (l *looker) entry(path string, name fs.DirEntry, depth int) (tree.Entry, error) {
	e := tree.Entry{Name: name.Name()}
	var err error
	switch name.Type() {
	case fs.ModeDir:
		e.Mode = tree.Folder
		e.Hash, err = l.walk(path, depth+1)
	case fs.ModeSymlink:
		e.Mode = tree.Symlink
		e.Hash, err = linkHash(filepath.Join(l.folder.dir, path))
	case 0:
		e.Mode = tree.File
		e.Hash, err = l.file(path, name)
	}
	return e, err
}

func linkHash(path string) (tree.Hash, error) {
	target, err := os.Readlink(path)
	return tree.HashOf("blob", []byte(target)), err
}

// file hashes a file, unless it looks as it did.
func (l *looker) file(path string, name fs.DirEntry) (tree.Hash, error) {
	info, err := name.Info()
	if err != nil {
		return tree.Hash{}, err
	}
	now := statOf(info)
	l.newest = max(l.newest, now.mtime)
	seen, known := l.folder.files[path]
	if !known || seen.stat != now {
		if seen, err = l.hash(path, now); err != nil {
			return tree.Hash{}, err
		}
	}
	l.files[path] = seen
	l.blobs[seen.blob] = path
	return seen.blob, nil
}

func (l *looker) hash(path string, now stat) (seenFile, error) {
	if now.size > maxBlob {
		return seenFile{}, fmt.Errorf("%s: %d bytes, the limit is %d: %w", path, now.size, maxBlob, tree.ErrTooBig)
	}
	data, err := os.ReadFile(filepath.Join(l.folder.dir, path))
	// A file that changes again within the clock's tick looks the same then: it is read again next time.
	now.hashedTooClose = time.Since(time.Unix(0, max(now.mtime, now.ctime))) < 50*time.Millisecond
	return seenFile{now, tree.HashOf("blob", data)}, err
}

func statOf(info fs.FileInfo) stat {
	s := stat{size: info.Size(), mtime: info.ModTime().UnixNano(), mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.ctime = int64(sys.Ino), sys.Ctim.Nano()
	}
	return s
}

// Reader reads what the last looks have seen. It may be used by one goroutine; there may be many.
func (f *Folder) Reader() (*FolderReader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &FolderReader{dir: f.dir, looks: make([]look, len(f.looks))}
	copy(r.looks, f.looks)
	return r, nil
}

// A FolderReader implements tree.Objects over a Folder.
type FolderReader struct {
	dir   string
	looks []look
}

// Close does nothing: there is nothing to give back.
func (r *FolderReader) Close() {}

// Tree returns the entries of a folder as it was.
func (r *FolderReader) Tree(h tree.Hash) ([]tree.Entry, error) {
	for _, l := range r.looks {
		if entries, ok := l.trees[h]; ok {
			return entries, nil
		}
	}
	return nil, fmt.Errorf("folder %s: %w", h.Short(), tree.ErrNotFound)
}

// Blob reads a file. ErrChanged: its content is another one by now.
func (r *FolderReader) Blob(h tree.Hash) ([]byte, error) {
	err := fmt.Errorf("file %s: %w", h.Short(), tree.ErrNotFound)
	for _, l := range r.looks {
		path, ok := l.blobs[h]
		if !ok {
			continue
		}
		data, readErr := os.ReadFile(filepath.Join(r.dir, path))
		if readErr == nil && tree.HashOf("blob", data) == h {
			return data, nil
		}
		err = fmt.Errorf("%s: %w", path, cmp.Or(readErr, ErrChanged))
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, err
}
