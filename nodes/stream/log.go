// Package stream keeps what containers write in log files, and gives it out again. The files are those of the CRI: a line
// is a time, the stream, F or P (for a line that goes on in the next record), and the text.
//
//	2026-01-02T15:04:05.999999999Z stdout F hello
package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// TimeFormat is that of a record's time: of one width.
const TimeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Logs are the log files of this node.
type Logs struct {
	size  int64 // at which a file is rotated
	files int   // kept of each run of a container

	chunks sync.Pool // of *[largeChunk]byte

	mu      sync.Mutex
	open    map[string]*log            // being written, by path
	awaited map[string][]chan struct{} // closed when a log is
}

// New keeps up to files files of size bytes for each run of a container; 0 is 5 and 10 MiB.
func New(size int64, files int) *Logs {
	if size <= 0 {
		size = 10 << 20
	}
	if files <= 0 {
		files = 5
	}
	return &Logs{
		size: size, files: files, open: map[string]*log{}, awaited: map[string][]chan struct{}{},
		chunks: sync.Pool{New: func() any { return new([largeChunk]byte) }},
	}
}

// Copy writes what a container writes to the log at path, until both streams end. Either may be nil. It closes them.
// One Copy for one path at a time.
func (l *Logs) Copy(path string, stdout, stderr io.ReadCloser) error {
	g, err := openLog(path, l.size, l.files)
	if err != nil {
		return errors.Join(err, closeAll(stdout, stderr))
	}
	l.mu.Lock()
	l.open[path] = g
	for _, begun := range l.awaited[path] {
		close(begun)
	}
	delete(l.awaited, path)
	l.mu.Unlock()

	var wg sync.WaitGroup
	var errOut, errErr error
	if stderr != nil {
		wg.Go(func() { errErr = g.copy("stderr", stderr, &l.chunks) })
	}
	if stdout != nil {
		errOut = g.copy("stdout", stdout, &l.chunks)
	}
	wg.Wait()

	l.mu.Lock()
	delete(l.open, path)
	l.mu.Unlock()
	return errors.Join(errOut, errErr, g.close(), closeAll(stdout, stderr))
}

const awaitFor = 5 * time.Second

// Await returns when somebody writes the log at path, who may be about to begin.
func (l *Logs) Await(ctx context.Context, path string) error {
	l.mu.Lock()
	if l.open[path] != nil {
		l.mu.Unlock()
		return nil
	}
	begun := make(chan struct{})
	l.awaited[path] = append(l.awaited[path], begun)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, awaitFor)
	defer cancel()
	select {
	case <-begun:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.awaited[path] = slices.DeleteFunc(l.awaited[path], func(c chan struct{}) bool { return c == begun }); len(l.awaited[path]) == 0 {
		delete(l.awaited, path)
	}
	return fmt.Errorf("await log %s: nobody writes it", filepath.Base(path))
}

func closeAll(cs ...io.ReadCloser) error {
	var errs []error
	for _, c := range cs {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// log is the log of one run of a container while it is written.
type log struct {
	path  string
	max   int64
	files int

	mu     sync.Mutex
	file   *os.File
	size   int64
	record []byte        // of the chunk that is being written
	more   chan struct{} // closed at the next write, or the end; nil: nobody waits
	ended  bool
}

const logMode = 0o640

func openLog(path string, size int64, files int) (*log, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	g := &log{path: path, max: size, files: files}
	if err := errors.Join(unlink(path), g.open()); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return g, g.mend()
}

func (g *log) open() error {
	f, err := os.OpenFile(g.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, logMode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	g.file, g.size = f, info.Size()
	return nil
}

// mend ends a record that an earlier process could not finish.
func (g *log) mend() error {
	last := make([]byte, 1)
	if g.size == 0 {
		return nil
	}
	if _, err := g.file.ReadAt(last, g.size-1); err != nil || last[0] == '\n' {
		return err
	}
	n, err := g.file.Write([]byte{'\n'})
	g.size += int64(n)
	return err
}

const (
	smallChunk = 2 << 10 // held by each container that is silent
	largeChunk = 64 << 10
)

// copy writes what r gives. It reads by small chunks until one is full: then there is more.
func (g *log) copy(stream string, r io.Reader, chunks *sync.Pool) error {
	small := make([]byte, smallChunk)
	var large *[largeChunk]byte
	defer func() {
		if large != nil {
			chunks.Put(large)
		}
	}()
	for {
		buf := small
		if large != nil {
			buf = large[:]
		}
		n, err := r.Read(buf)
		if n > 0 {
			if err := g.write(stream, buf[:n], time.Now()); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == len(small) && large == nil:
			large = chunks.Get().(*[largeChunk]byte)
		case n < len(small) && large != nil:
			chunks.Put(large)
			large = nil
		}
	}
}

// write writes a chunk as records, in one go.
func (g *log) write(stream string, chunk []byte, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.record = appendRecords(g.record[:0], stream, chunk, now)
	if g.size > 0 && g.size+int64(len(g.record)) > g.max {
		if err := g.rotate(); err != nil {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	n, err := g.file.Write(g.record)
	g.size += int64(n)
	if cap(g.record) > smallChunk*2 && len(chunk) < smallChunk {
		g.record = nil
	}
	g.notify()
	return err
}

// appendRecords adds a record for each line of chunk.
func appendRecords(to []byte, stream string, chunk []byte, now time.Time) []byte {
	at := len(to)
	to = now.UTC().AppendFormat(to, TimeFormat)
	to = append(to, ' ')
	to = append(to, stream...)
	to = append(to, " F "...)
	prefix := slices.Clone(to[at:])
	to = to[:at]
	for len(chunk) > 0 {
		line := chunk
		end := bytes.IndexByte(chunk, '\n')
		if end >= 0 {
			line, chunk = chunk[:end], chunk[end+1:]
		} else {
			chunk = nil
			prefix[len(prefix)-2] = 'P'
		}
		to = append(to, prefix...)
		to = append(to, line...)
		to = append(to, '\n')
	}
	return to
}

// rotate gives the file a number, one higher than the last, and begins a new one. Who reads the log finds a newest file at
// any moment, and no file without a name.
func (g *log) rotate() error {
	old, err := rotated(g.path)
	if err != nil {
		return err
	}
	next := 1
	if len(old) > 0 {
		next = old[len(old)-1] + 1
	}
	fresh, err := os.OpenFile(g.path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, logMode)
	if err != nil {
		return err
	}
	if err = os.Link(g.path, numbered(g.path, next)); err == nil {
		err = os.Rename(g.path+".new", g.path)
	}
	if err != nil {
		fresh.Close()
		return err
	}
	err = g.file.Close()
	g.file, g.size = fresh, 0
	for _, n := range append(old, next)[:max(len(old)+2-g.files, 0)] {
		err = errors.Join(err, os.Remove(numbered(g.path, n)))
	}
	return err
}

// unlink takes from the newest file a number that it got from a process that died then.
func unlink(path string) error {
	old, err := rotated(path)
	if err != nil || len(old) == 0 {
		return err
	}
	last := numbered(path, old[len(old)-1])
	if !same(path, last) {
		return nil
	}
	return os.Remove(last)
}

// same tells whether two names are of one file.
func same(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

func numbered(path string, n int) string { return path + "." + strconv.Itoa(n) }

// rotated are the numbers of the full files of a log, oldest first.
func rotated(path string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if n, err := strconv.Atoi(rest); ok && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func (g *log) notify() {
	if g.more != nil {
		close(g.more)
		g.more = nil
	}
}

// wait returns a channel that is closed when there may be more; nil if there will not be any.
func (g *log) wait() <-chan struct{} {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil
	}
	if g.more == nil {
		g.more = make(chan struct{})
	}
	return g.more
}

func (g *log) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	g.notify()
	return g.file.Close()
}
