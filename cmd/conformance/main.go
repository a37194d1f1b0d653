// Conformance runs Kubernetes' own conformance suite against Mainstay, on this machine, in a network namespace of its own.
//
//	conformance [-focus regexp] [-skip regexp] [-procs n] [-only parallel|serial] [-again] [-within duration]
//	conformance -page
//
// It builds the suite and the images that its tests run (kept in the user's cache folder), starts a registry that holds them
// and a node that pulls from it, runs the tests, and writes docs/CONFORMANCE.md anew from what it saw and what was seen before.
// The exit status is 1 if a test failed that is not known to be unable to run here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// Options say what is run.
type options struct {
	focus, skip string
	procs       int
	only        string
	keep        string
	debug       bool
	again       bool
	within      time.Duration
	page        bool
}

func (o *options) flags(f *flag.FlagSet) {
	f.StringVar(&o.focus, "focus", "", "run only tests whose names match")
	f.StringVar(&o.skip, "skip", "", "but not those that match this")
	f.IntVar(&o.procs, "procs", 4, "how many tests run at a time, of those that are not [Serial]")
	f.StringVar(&o.only, "only", "", "parallel or serial: run only those that are not [Serial], or only those that are")
	f.StringVar(&o.keep, "keep", "", "folder that keeps the suite's output and the node's log")
	f.BoolVar(&o.again, "again", false, "run only tests that did not pass when they last ran")
	f.DurationVar(&o.within, "within", 24*time.Hour, "how long each of both may take: tests that did not run then count as not run")
	f.BoolVar(&o.page, "page", false, "run nothing, but write the page anew from what is kept")
	f.BoolVar(&o.debug, "debug", false, "the node tells more in its log")
}

func (o *options) args() []string {
	return []string{"-focus", o.focus, "-skip", o.skip, "-procs", strconv.Itoa(o.procs), "-only", o.only, "-debug=" + strconv.FormatBool(o.debug), "-again=" + strconv.FormatBool(o.again), "-within", o.within.String()}
}

// inside begins the arguments of this program when it starts itself again in the namespace; its folder and the options follow.
const inside = "inside"

func run(ctx context.Context, args []string) error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: it makes a network namespace and starts containers")
	}
	var o options
	f := flag.NewFlagSet("conformance", flag.ContinueOnError)
	o.flags(f)
	at, err := newPlace()
	if err != nil {
		return err
	}
	if len(args) > 1 && args[0] == inside {
		if err := f.Parse(args[2:]); err != nil {
			return err
		}
		return runInside(ctx, at, args[1], o)
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.page {
		return report(results{}, 0)
	}
	if err := at.build(ctx); err != nil {
		return err
	}
	return runSuite(ctx, at, o)
}

// runSuite runs the tests in a folder and a network namespace of their own, removes those, and reports.
func runSuite(ctx context.Context, at place, o options) (err error) {
	dir, err := os.MkdirTemp("", "mainstay-conformance-")
	if err != nil {
		return err
	}
	namespace := filepath.Join(dir, "netns")
	defer func() { err = errors.Join(err, sandbox.Remove(namespace), os.RemoveAll(dir)) }()
	if err := sandbox.Keep(namespace); err != nil {
		return err
	}
	started := time.Now()
	ran := sandbox.Run(ctx, namespace, append([]string{inside, dir}, o.args()...)...)
	if o.keep != "" {
		if err := keepOutput(dir, o.keep); err != nil {
			return err
		}
	}
	seen, err := readReports(dir)
	if err != nil {
		return errors.Join(ran, err)
	}
	return errors.Join(ran, report(seen, time.Since(started)))
}

// keepOutput copies what the suite and the node said.
func keepOutput(dir, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"node.log", "parallel.log", "serial.log", "parallel.json", "serial.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
