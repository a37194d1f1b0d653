package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Options of reading a log.
type Options struct {
	Follow     bool  // go on until the container has ended
	Timestamps bool  // each line begins with its time
	Tail       int64 // only the last lines; below 0: all
	Since      time.Time
	Limit      int64  // bytes at most; 0: no limit
	Stream     string // stdout or stderr; empty: both
}

// Read gives out the log at path. fs.ErrNotExist: there is none. The Reader ends with ctx.
func (l *Logs) Read(ctx context.Context, path string, o Options) (*Reader, error) {
	l.mu.Lock()
	live := l.open[path]
	l.mu.Unlock()
	r := &Reader{ctx: ctx, path: path, opts: o, live: live, begun: map[string]bool{}}
	if !o.Follow {
		r.live = nil
	}
	if err := r.begin(); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return r, nil
}

// A Reader gives out a log. A Read returns what is there, and waits only when nothing is.
type Reader struct {
	ctx  context.Context
	path string
	opts Options
	live *log // what writes it; nil: nobody does, or it is not followed

	file    *os.File
	number  int             // of a full file; 0: it was the newest when it was opened
	in      []byte          // read and not yet looked at
	text    []byte          // holds out
	out     []byte          // to be given out
	begun   map[string]bool // streams of which a line has begun and not ended
	written int64
	err     error
}

// begin opens the file in which the first line to be given out is.
func (r *Reader) begin() error {
	if r.opts.Tail < 0 {
		return r.oldest()
	}
	start, err := r.tail(r.opts.Tail)
	if err != nil {
		return err
	}
	_, err = r.file.Seek(start, io.SeekStart)
	return err
}

// oldest opens the first file that is there.
func (r *Reader) oldest() error { return r.after(0) }

// after opens the full file with the next number above n, or the newest file. Files get their numbers meanwhile.
func (r *Reader) after(n int) error {
	for try := range 1000 {
		if try > 10 {
			time.Sleep(time.Millisecond) // who rotates was stopped in the middle of it
		}
		numbers, err := rotated(r.path)
		if err != nil {
			return err
		}
		name, number := r.path, 0
		for _, k := range numbers {
			if k > n {
				name, number = numbered(r.path, k), k
				break
			}
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && number > 0 {
			continue // it was the oldest, and is gone
		}
		if err != nil {
			return err
		}
		if number == 0 && (r.overtaken(n) || r.reads(f)) {
			f.Close() // it got its number, or is just getting it
			continue
		}
		r.take(f, number)
		return nil
	}
	return errors.New("it is rotated faster than it can be read")
}

// overtaken tells whether there is a full file after n.
func (r *Reader) overtaken(n int) bool {
	numbers, err := rotated(r.path)
	return err == nil && len(numbers) > 0 && numbers[len(numbers)-1] > n
}

// reads tells whether f is the file that is being read.
func (r *Reader) reads(f *os.File) bool {
	if r.file == nil {
		return false
	}
	x, err1 := f.Stat()
	y, err2 := r.file.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

func (r *Reader) take(f *os.File, number int) {
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.number, r.in = f, number, r.in[:0] // what is left of a record that was never finished is dropped
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: what is there is written in one piece.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for {
		if err := r.fill(); errors.Is(err, io.EOF) {
			return sum, nil
		} else if err != nil {
			return sum, err
		}
		n, err := w.Write(r.out)
		sum += int64(n)
		r.out = r.out[n:]
		if err != nil {
			return sum, err
		}
	}
}

// Close gives back what Read took.
func (r *Reader) Close() error { return r.file.Close() }

const block = 32 << 10

// fill waits until there is something to give out.
func (r *Reader) fill() error {
	if len(r.out) > 0 {
		return nil
	}
	r.out = r.text[:0]
	for len(r.out) == 0 && r.err == nil {
		if r.opts.Limit > 0 && r.written >= r.opts.Limit {
			r.err = io.EOF
			break
		}
		r.err = r.step()
	}
	r.text = r.out
	if len(r.out) > 0 {
		return nil
	}
	return r.err
}

// step reads a block; at the end of a file it goes on to the next, or waits for more.
func (r *Reader) step() error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	more := r.live.wait() // before reading: what is written after it is not missed
	n, err := r.read()
	if n > 0 || err != nil {
		return err
	}
	if r.number == 0 {
		is, err := r.newest()
		if err != nil {
			return err
		}
		if is {
			return r.await(more)
		}
		if n, err := r.read(); n > 0 || err != nil {
			return err // written before it was renamed
		}
	}
	number, err := r.numberOf()
	if err != nil {
		return err
	}
	return r.after(number)
}

func (r *Reader) await(more <-chan struct{}) error {
	if more == nil {
		return io.EOF
	}
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-more:
		return nil
	}
}

// newest tells whether the file that is read is still the one that is written, or the log was removed.
func (r *Reader) newest() (bool, error) {
	mine, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && os.SameFile(mine, now), err
}

// numberOf is the number that the file has, or had: if it is gone, what comes next is the oldest that is left.
func (r *Reader) numberOf() (int, error) {
	if r.number > 0 {
		return r.number, nil
	}
	mine, err := r.file.Stat()
	if err != nil {
		return 0, err
	}
	numbers, err := rotated(r.path)
	if err != nil {
		return 0, err
	}
	for _, n := range numbers {
		if info, err := os.Stat(numbered(r.path, n)); err == nil && os.SameFile(mine, info) {
			return n, nil
		}
	}
	return 0, nil
}

// read reads a block and turns its whole records into what is given out.
func (r *Reader) read() (int, error) {
	at := len(r.in)
	r.in = slices.Grow(r.in, block)[:at+block]
	n, err := r.file.Read(r.in[at:])
	r.in = r.in[:at+n]
	if err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	rest := r.in
	for {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		r.give(rest[:end])
		rest = rest[end+1:]
	}
	r.in = r.in[:copy(r.in, rest)]
	return n, nil
}

// give adds a record to what is given out, if it is wanted. A record that makes no sense is left out.
func (r *Reader) give(record []byte) {
	rec, ok := parse(record)
	if !ok || r.opts.Stream != "" && rec.stream != r.opts.Stream || !r.opts.Since.IsZero() && rec.before(r.opts.Since) {
		return
	}
	before := len(r.out)
	if r.opts.Timestamps && !r.begun[rec.stream] {
		r.out = append(append(r.out, rec.time...), ' ')
	}
	r.out = append(r.out, rec.text...)
	if !rec.partial {
		r.out = append(r.out, '\n')
	}
	r.begun[rec.stream] = rec.partial
	r.written += int64(len(r.out) - before)
	if over := r.written - r.opts.Limit; r.opts.Limit > 0 && over > 0 {
		r.out = r.out[:max(before, len(r.out)-int(over))]
		r.written = r.opts.Limit
	}
}

// record of a log file.
type record struct {
	time    []byte
	stream  string
	partial bool
	text    []byte
}

func parse(line []byte) (record, bool) {
	at, rest, ok1 := bytes.Cut(line, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tag, text, ok3 := bytes.Cut(rest, []byte{' '})
	r := record{time: at, text: text, partial: len(tag) > 0 && tag[0] == 'P'}
	switch string(stream) {
	case "stdout":
		r.stream = "stdout"
	case "stderr":
		r.stream = "stderr"
	default:
		return r, false
	}
	return r, ok1 && ok2 && ok3 && len(tag) > 0
}

func (r record) before(t time.Time) bool {
	at, err := time.Parse(time.RFC3339Nano, string(r.time))
	return err != nil || at.Before(t)
}
