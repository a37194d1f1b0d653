package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

var medianMetric = regexp.MustCompile(`([0-9.]+) median-µs`)

// measureKernel changes an endpoint of one service among 10,000, and waits until the kernel leads to it: a Go benchmark of the
// dataplane, which makes a network namespace of its own.
func measureKernel(ctx context.Context, b *bench) error {
	change := b.row(row{Name: "one service's change, store to kernel", Unit: "µs", Aim: 100})
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkStoreToKernel$", "-count", strconv.Itoa(b.rounds), "./dataplane/bpf")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -bench StoreToKernel ./dataplane/bpf: %w\n%s", err, out)
	}
	for _, m := range medianMetric.FindAllSubmatch(out, -1) {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return err
		}
		change.ours(v)
	}
	if len(change.Ours) == 0 {
		return errors.New("BenchmarkStoreToKernel did not say what it measured")
	}
	return nil
}
