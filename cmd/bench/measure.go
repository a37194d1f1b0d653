package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A measure finds some rows of the report. It has a Mainstay of its own.
type measure struct {
	name  string
	limit time.Duration // for one round; what takes longer has failed
	run   func(context.Context, *bench) error
}

func measures() []measure {
	return []measure{
		{"start", 30 * time.Second, measureStart},
		{"push", time.Minute, measurePush},
		{"ready", 30 * time.Second, measureReady},
		{"replicas", time.Minute, measureReplicas},
		{"hundred", 2 * time.Minute, measureHundred},
		{"shims", 2 * time.Minute, measureShims},
		{"streams", time.Minute, measureStreams},
		{"rolling", 30 * time.Second, measureRolling},
		{"big", 2 * time.Minute, measureBig},
		{"folder", 2 * time.Minute, measureFolder},
		{"memory", 3 * time.Minute, measureMemory},
		{"connect", 2 * time.Minute, measureConnect},
		{"kernel", time.Minute, measureKernel},
	}
}

func names() []string {
	var all []string
	for _, m := range measures() {
		all = append(all, m.name)
	}
	return all
}

// quick is how often something that takes well below a second is measured in one round.
const quick = 4

// A bench is one run in its namespace.
type bench struct {
	dir    string
	rounds int
	nodes  int
	report report
}

// take takes one measure. If it fails, that is noted, with the end of the daemon's log, and what it had measured stays.
func (b *bench) take(ctx context.Context, m measure) {
	started := time.Now()
	fmt.Fprintf(os.Stderr, "%s ... ", m.name)
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(b.rounds)*m.limit)
	defer cancel()
	if err := m.run(ctx, b); err != nil {
		fmt.Fprintf(os.Stderr, "FAILED: %v\n", err)
		b.report.Failures = append(b.report.Failures, failure{m.name, err.Error()})
		return
	}
	fmt.Fprintf(os.Stderr, "%.0fs\n", time.Since(started).Seconds())
}

// path is a path in the folder of the run.
func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// with starts a Mainstay with the images, lets do use it, and ends it.
func (b *bench) with(ctx context.Context, do func(*node) error) (err error) {
	n := b.newNode()
	defer func() { err = n.end(ctx, err) }()
	if _, err := n.up(ctx); err != nil {
		return err
	}
	if err := n.loadImages(ctx); err != nil {
		return err
	}
	if err := n.connect(); err != nil {
		return err
	}
	return do(n)
}

// turns calls both, the one first in even rounds and the other in odd ones, so that neither has always the warmer machine.
func turns(round int, a, b func() error) error {
	if round%2 == 1 {
		a, b = b, a
	}
	if err := a(); err != nil {
		return err
	}
	return b()
}
