package stream

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCopy is how fast the logs of chatty containers are written, and what that costs: all of them write lines of 100
// bytes as fast as they are read.
func BenchmarkCopy(b *testing.B) {
	const each = 4 << 20
	line := append(bytes.Repeat([]byte("x"), 99), '\n')
	block := bytes.Repeat(line, 40)
	for _, containers := range []int{1, 50} {
		b.Run(fmt.Sprint("containers=", containers), func(b *testing.B) {
			dir := b.TempDir()
			l := New(0, 0)
			busy, rounds := cpu(b), 0
			for b.Loop() {
				rounds++
				var wg sync.WaitGroup
				for i := range containers {
					out, in, err := os.Pipe()
					if err != nil {
						b.Fatal(err)
					}
					wg.Go(func() {
						defer in.Close()
						for n := 0; n < each/containers; n += len(block) {
							if _, err := in.Write(block); err != nil {
								b.Error(err)
								return
							}
						}
					})
					wg.Go(func() {
						if err := l.Copy(filepath.Join(dir, fmt.Sprint(i), "0.log"), out, nil); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.SetBytes(each)
			b.ReportMetric((cpu(b)-busy).Seconds()*1000/(float64(rounds)*each/1e6), "cpu-ms/MB")
		})
	}
}

// cpu is what this process has used.
func cpu(tb testing.TB) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
