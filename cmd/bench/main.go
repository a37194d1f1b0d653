// Bench measures Mainstay end to end, on this machine, beside what it is to be compared with: floors are measured in the same
// rounds, by turns. Everything runs in a network namespace and in folders of its own, and is removed at the end.
//
//	go run ./cmd/bench                      all measures, as a table
//	go run ./cmd/bench --only push,ready    some of them
//	go run ./cmd/bench --rounds 2 -o json   fewer samples; all of them, for programs
//
// It is run in the root of the repository, as root. It exits 1 if something could not be measured; an aim that is missed is
// said, and is no failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	if _, said := errors.AsType[*exec.ExitError](err); said {
		os.Exit(1) // by the program in the namespace
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what one can say to this program.
type options struct {
	only   []string
	rounds int
	json   bool
	inside string // the folder of the run, when this is the program in the namespace
}

func parse(args []string) (options, error) {
	var o options
	var only, format string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&only, "only", "", "measures to take, with commas between: "+strings.Join(names(), ","))
	f.IntVar(&o.rounds, "rounds", 5, "rounds of each measure; what is quick is measured several times a round")
	f.StringVar(&format, "o", "text", "text or json")
	f.StringVar(&o.inside, "inside", "", "folder of the run (the program gives it to itself)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.rounds < 1 || format != "text" && format != "json" {
		return o, fmt.Errorf("bench [--only NAME,...] [--rounds N] [-o text|json]: what is %q?", args)
	}
	o.json = format == "json"
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, n := range o.only {
		if !slices.Contains(names(), n) {
			return o, fmt.Errorf("no measure is named %q: there are %s", n, strings.Join(names(), ", "))
		}
	}
	return o, nil
}

func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: it makes a network namespace and starts containers")
	}
	if o.inside != "" {
		return measureAll(ctx, o)
	}
	return inNamespace(ctx)
}

// prefix begins the names of the folders of runs.
const prefix = "mainstay-bench-"

func namespaceOf(dir string) string { return filepath.Join(dir, "netns") }
func programOf(dir string) string   { return filepath.Join(dir, "mainstay") }
func imageFile(dir, version string) string {
	return filepath.Join(dir, "hello-"+version+".tar")
}

// inNamespace builds what is to be measured, runs this program again in a new namespace, and removes everything.
func inNamespace(ctx context.Context) (err error) {
	sweep(ctx)
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return err
	}
	release, err := hold(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean(context.WithoutCancel(ctx), dir)) }()
	defer release()
	fmt.Fprintln(os.Stderr, "building mainstay and the images")
	if err := build(ctx, dir); err != nil {
		return err
	}
	if err := sandbox.Keep(namespaceOf(dir)); err != nil {
		return err
	}
	return sandbox.Run(ctx, namespaceOf(dir), append([]string{"--inside", dir}, os.Args[1:]...)...)
}

// build makes the program that is measured, as make build does, and the images that its containers have.
func build(ctx context.Context, dir string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", programOf(dir), "./cmd/mainstay")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build mainstay (in the root of the repository?): %w\n%s", err, out)
	}
	for _, v := range []string{"v1", "v2"} {
		if err := sandbox.BuildImage(ctx, "./examples/hello", hello(v), v, imageFile(dir, v)); err != nil {
			return err
		}
	}
	return sandbox.BuildBusybox(ctx, box, imageFile(dir, "busybox"))
}

// measureAll takes the measures that were asked for, one after the other, and prints what came out.
func measureAll(ctx context.Context, o options) error {
	release, err := hold(o.inside)
	if err != nil {
		return err
	}
	defer release()
	b := &bench{dir: o.inside, rounds: o.rounds}
	b.report.Host = describeHost()
	for _, m := range measures() {
		if len(o.only) > 0 && !slices.Contains(o.only, m.name) || ctx.Err() != nil {
			continue
		}
		b.take(ctx, m)
	}
	if err := b.report.write(os.Stdout, o.json); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if n := len(b.report.Failures); n > 0 {
		return fmt.Errorf("%d measures failed", n)
	}
	return nil
}

// write prints the report.
func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		return r.writeJSON(w)
	}
	return r.writeTable(w)
}
