package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// childFolder makes the test program an API server that keeps its files in that folder, until its standard input ends.
const childFolder = "MAINSTAY_TEST_API_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(durableFolder); dir != "" {
		fmt.Fprintln(os.Stderr, serveDurably(dir))
		os.Exit(1)
	}
	if text := os.Getenv(crowdOf); text != "" {
		var c crowd
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = c.gather()
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	began := cpu()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	kinds := scheme.New(scheme.Options{})
	memory, err := store.Open(store.NewVolatile(kinds.Stored), kinds.Stored, store.Options{})
	if err != nil {
		return err
	}
	authority, err := access.LoadAuthority(dir, time.Now())
	if err != nil {
		return err
	}
	server, err := New(Config{Scheme: kinds, Documents: openapi.New(), Store: memory, Authority: authority,
		Listeners: []net.Listener{l}, Log: slog.Default(), Now: time.Now})
	if err != nil {
		return err
	}
	assembled := cpu() - began
	if err := authority.Kubeconfig(filepath.Join(dir, "kubeconfig"), "https://"+l.Addr().String(), time.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	in := bufio.NewScanner(os.Stdin)
	fmt.Printf("assembled-us %d\n", assembled.Microseconds())
	for in.Scan() { // each line asks for figures
		runtime.GC()
		debug.FreeOSMemory()
		anon, err := rssAnon()
		if err != nil {
			return err
		}
		fmt.Printf("cpu-us %d rss-anon-kib %d goroutines %d\n", cpu().Microseconds(), anon, runtime.NumGoroutine())
	}
	cancel()
	return <-done
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rssAnon is the private memory of this process, in KiB.
func rssAnon() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "RssAnon:")
	return strconv.Atoi(strings.Fields(after)[0])
}

// BenchmarkIdle measures a program that serves the API and nothing else: what it costs to assemble, and at rest.
func BenchmarkIdle(b *testing.B) {
	for range b.N {
		c := exec.CommandContext(b.Context(), os.Args[0])
		c.Env = append(os.Environ(), childFolder+"="+b.TempDir())
		c.Stderr = os.Stderr
		in, err := c.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		lines := bufio.NewReader(out)
		ask := func(format string, to ...any) {
			if _, err := fmt.Fscanf(lines, format+"\n", to...); err != nil {
				b.Fatal(err)
			}
		}
		var assembled, before, after, anon, goroutines int
		ask("assembled-us %d", &assembled)
		idle(b, time.Second)
		_, _ = io.WriteString(in, "\n")
		ask("cpu-us %d rss-anon-kib %d goroutines %d", &before, &anon, &goroutines)
		const measured = 3 * time.Second
		idle(b, measured)
		_, _ = io.WriteString(in, "\n")
		ask("cpu-us %d rss-anon-kib %d goroutines %d", &after, &anon, &goroutines)
		if err := in.Close(); err != nil {
			b.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(assembled)/1000, "ms-cpu-to-assemble")
		b.ReportMetric(float64(anon)/1024, "MiB-RssAnon")
		b.ReportMetric(float64(goroutines), "goroutines")
		b.ReportMetric(float64(after-before)/measured.Seconds()/1e4, "%-of-a-core")
	}
}

// idle lets the program under measure rest.
func idle(b *testing.B, d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.Context().Done():
	}
}
