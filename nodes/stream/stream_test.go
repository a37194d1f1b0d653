package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// everything is the whole of a log.
var everything = Options{Tail: -1}

// writeLog writes a log file as it stands on disk: a line for each record.
func writeLog(t *testing.T, path string, records ...string) {
	t.Helper()
	var b strings.Builder
	for i, r := range records {
		fmt.Fprintf(&b, "%s %s\n", at.Add(time.Duration(i)*time.Second).Format(TimeFormat), r)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readLog(t *testing.T, l *Logs, path string, o Options) string {
	t.Helper()
	r, err := l.Read(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRecordsHaveATimeAStreamAndATag(t *testing.T) {
	for text, want := range map[string]string{
		"":                "",
		"hello\n":         "2026-01-02T03:04:05.000000006Z stdout F hello\n",
		"a\nb\n":          "2026-01-02T03:04:05.000000006Z stdout F a\n2026-01-02T03:04:05.000000006Z stdout F b\n",
		"\n":              "2026-01-02T03:04:05.000000006Z stdout F \n",
		"end\nnot an end": "2026-01-02T03:04:05.000000006Z stdout F end\n2026-01-02T03:04:05.000000006Z stdout P not an end\n",
	} {
		if d := cmp.Diff(want, string(appendRecords(nil, "stdout", []byte(text), at))); d != "" {
			t.Error(d)
		}
	}
}

func TestALogIsGivenOutAsItIsAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	writeLog(t, path, "stdout F one", "stderr F two", "stdout P thr", "stderr F 2.5", "stdout F ee", "stdout F four")
	const when = "2026-01-02T03:04:"
	for _, row := range []struct {
		name string
		opts Options
		want string
	}{
		{"all of it", everything, "one\ntwo\nthr2.5\nee\nfour\n"},
		{"with times", Options{Tail: 1, Timestamps: true}, when + "10.000000006Z four\n"},
		{"a line in parts has one time", Options{Tail: -1, Timestamps: true, Stream: "stdout"},
			when + "05.000000006Z one\n" + when + "07.000000006Z three\n" + when + "10.000000006Z four\n"},
		{"the end of it", Options{Tail: 2}, "ee\nfour\n"},
		{"none of it", Options{Tail: 0}, ""},
		{"more than there is", Options{Tail: 100}, "one\ntwo\nthr2.5\nee\nfour\n"},
		{"since a time", Options{Tail: -1, Since: at.Add(4 * time.Second)}, "ee\nfour\n"},
		{"since long after", Options{Tail: -1, Since: at.Add(time.Hour)}, ""},
		{"some bytes", Options{Tail: -1, Limit: 6}, "one\ntw"},
		{"as many bytes as there are", Options{Tail: 1, Limit: 5}, "four\n"},
		{"one stream", Options{Tail: -1, Stream: "stderr"}, "two\n2.5\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if d := cmp.Diff(row.want, readLog(t, New(0, 0), path, row.opts)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestALogThatIsNotThere(t *testing.T) {
	if _, err := New(0, 0).Read(t.Context(), filepath.Join(t.TempDir(), "0.log"), everything); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatMakesNoSenseInALogIsPassedOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(path, []byte("\nx\n2026 stdout\n2026-01-02T03:04:05Z stdout F fine\n2026-01-02T03:04:05Z stdlog F no\nhalf a rec"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readLog(t, New(0, 0), path, everything); got != "fine\n" {
		t.Errorf("read %q", got)
	}
	if got := readLog(t, New(0, 0), path, Options{Tail: 5}); got != "fine\n" {
		t.Errorf("its end is %q", got)
	}
}

// lines are numbered.
func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %06d\n", i)
	}
	return b.String()
}

// fill writes a text to a log in chunks.
func fill(t *testing.T, l *Logs, path, text string, chunk int) {
	t.Helper()
	g, err := openLog(path, l.size, l.files)
	if err != nil {
		t.Fatal(err)
	}
	for len(text) > 0 {
		n := min(chunk, len(text))
		if err := g.write("stdout", []byte(text[:n]), at); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
}

func TestALogIsRotatedAndReadAsOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "0.log")
	l := New(1000, 4)
	fill(t, l, path, lines(0, 100), 36)
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 4 {
		t.Errorf("%d files are kept, want 4", len(entries))
	}
	got := readLog(t, l, path, everything)
	first := strings.Index(lines(0, 100), got)
	if first <= 0 || !strings.HasSuffix(got, "line 000099\n") {
		t.Errorf("read %q", got)
	}
	for _, n := range []int{1, 5, 17, 18, 19, 30, 40} {
		want := lines(100-n, 100)
		if d := cmp.Diff(want, readLog(t, l, path, Options{Tail: int64(n)})); d != "" {
			t.Errorf("the last %d lines: %s", n, d)
		}
	}
	if d := cmp.Diff(got, readLog(t, l, path, Options{Tail: 1000})); d != "" {
		t.Error("more than are left:", d)
	}
}

func TestTheEndOfALongLogIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l := New(0, 0)
	long := strings.Repeat("x", 3*block)
	fill(t, l, path, lines(0, 5000)+long+"\n"+lines(5000, 5002), 50_000)
	for n, want := range map[int]string{1: lines(5001, 5002), 3: long + "\n" + lines(5000, 5002), 1000: lines(4003, 5000) + long + "\n" + lines(5000, 5002)} {
		if got := readLog(t, l, path, Options{Tail: int64(n)}); got != want {
			t.Errorf("the last %d lines have %d bytes, want %d", n, len(got), len(want))
		}
	}
}

func TestAnotherProcessGoesOnWithALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l := New(300, 10)
	fill(t, l, path, lines(0, 20), 36)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("2026-01-02T03:04:05.000000006Z stdout F killed in"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	fill(t, l, path, lines(20, 22), 36)
	if d := cmp.Diff(lines(18, 20)+"killed in\n"+lines(20, 22), readLog(t, l, path, Options{Tail: 5})); d != "" {
		t.Error(d)
	}
}

func TestARotationThatAnEarlierProcessDidNotFinishIsUndone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l := New(300, 10)
	fill(t, l, path, lines(0, 12), 36)
	if err := os.Link(path, path+".9"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fill(t, l, path, lines(12, 30), 36)
	if d := cmp.Diff(lines(0, 30), readLog(t, l, path, everything)); d != "" {
		t.Error(d)
	}
}

// follow reads a log to its end in the background.
func follow(t *testing.T, l *Logs, path string, o Options) func() string {
	t.Helper()
	o.Follow = true
	r, err := l.Read(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	done := make(chan error, 1)
	go func() {
		_, err := r.WriteTo(&b)
		done <- errors.Join(err, r.Close())
	}()
	return func() string {
		t.Helper()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return b.String()
	}
}

func TestWhoFollowsALogMissesNothingWhileItIsRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l := New(4000, 10_000)
	out, in := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Copy(path, out, nil); err != nil {
			t.Error(err)
		}
	})
	text := lines(0, 10_000)
	write(t, in, text[:11])
	for l.live(path) == nil {
		wait(t)
	}
	ends := []func() string{}
	for range 3 {
		ends = append(ends, follow(t, l, path, everything))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for rest := text[11:]; len(rest) > 0; {
		n := min(1+rng.IntN(500), len(rest))
		write(t, in, rest[:n])
		rest = rest[n:]
	}
	in.Close()
	for _, end := range ends {
		if got := end(); got != text {
			t.Errorf("got %d bytes, want %d", len(got), len(text))
		}
	}
	wg.Wait()
	if got := readLog(t, l, path, everything); got != text {
		t.Errorf("afterwards the log has %d bytes, want %d", len(got), len(text))
	}
}

// live is the log while it is written.
func (l *Logs) live(path string) *log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[path]
}

// wait waits a moment for something that another goroutine does.
func wait(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(time.Millisecond):
	}
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func TestWhoFollowsALogMayEndIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l := New(0, 0)
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); l.Copy(path, out, nil) }()
	write(t, in, "hello\n")
	for l.live(path) == nil {
		wait(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := l.Read(ctx, path, Options{Tail: -1, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := r.Read(buf); err != nil || string(buf[:n]) != "hello\n" {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := r.Read(buf); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	r.Close()
	in.Close()
	<-done
}

func TestBothStreamsAreCopiedToTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l := New(0, 0)
	stdout, stderr := strings.NewReader(lines(0, 50_000)), strings.NewReader("error\n")
	if err := l.Copy(path, io.NopCloser(stdout), io.NopCloser(stderr)); err != nil {
		t.Fatal(err)
	}
	if got := readLog(t, l, path, Options{Tail: -1, Stream: "stdout"}); got != lines(0, 50_000) {
		t.Errorf("stdout has %d bytes", len(got))
	}
	if got := readLog(t, l, path, Options{Tail: -1, Stream: "stderr"}); got != "error\n" {
		t.Errorf("stderr is %q", got)
	}
}

func FuzzReadingALogNeverFails(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05Z stdout F x\n2026-01-02T03:04:05Z stderr P y\n"), int64(1))
	f.Fuzz(func(t *testing.T, data []byte, tail int64) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		all := readLog(t, New(0, 0), path, everything)
		if end := readLog(t, New(0, 0), path, Options{Tail: tail}); !strings.HasSuffix(all, end) {
			t.Errorf("the end %q is not one of %q", end, all)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 10_000) // 1 MB
	path := filepath.Join(b.TempDir(), "0.log")
	l := New(0, 0)
	if err := l.Copy(path, io.NopCloser(strings.NewReader(text)), nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, err := l.Read(b.Context(), path, everything)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := r.WriteTo(io.Discard); err != nil || n != int64(len(text)) {
			b.Fatal(n, err)
		}
		r.Close()
	}
}
