// Demo shows Mainstay from the first push to a rolling update, on this machine, in a network namespace of its own.
//
//	demo         shows it, and leaves it running to be played with
//	demo check   does the same unattended, measures it, and cleans up
//	demo end     ends what demo left running
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
)

// home is where the demo that is left running keeps its things.
const home = "/var/lib/mainstay-demo"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: it makes a network namespace and starts containers")
	}
	if len(args) == 3 && args[0] == inside {
		return newDemo(args[2]).inside(ctx, args[1])
	}
	switch {
	case len(args) == 0:
		return show(ctx)
	case args[0] == "check":
		return check(ctx)
	case args[0] == "end":
		return end(ctx, home)
	}
	return fmt.Errorf("unknown verb %q: there are check and end", args[0])
}

// inside begins the arguments of this program when it starts itself again in the namespace; a verb and the folder follow.
const inside = "inside"

// show runs the demo and leaves it running.
func show(ctx context.Context) error {
	if _, err := os.Stat(home); err == nil {
		return fmt.Errorf("there is a demo already: end it with %s end", os.Args[0])
	}
	return inNamespace(ctx, home, "show")
}

// check runs the demo in a folder of its own, prints what it measured, and removes everything.
func check(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "mainstay-demo-")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, end(late, dir))
	}()
	return inNamespace(ctx, dir, "check")
}

// end ends a demo that lives in dir, and removes it.
func end(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	var errs []error
	if _, err := os.Stat(filepath.Join(dir, "data", "endpoints.json")); err == nil {
		errs = append(errs, inNamespace(ctx, dir, "end"))
	}
	errs = append(errs, sandbox.Remove(namespaceOf(dir)))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func namespaceOf(dir string) string { return filepath.Join(dir, "netns") }

// inNamespace starts this program again in the network namespace that is kept in dir, which is made if it is not there.
func inNamespace(ctx context.Context, dir, verb string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := sandbox.Keep(namespaceOf(dir)); err != nil {
		return err
	}
	return sandbox.Run(ctx, namespaceOf(dir), inside, verb, dir)
}

// inside is what the process in the namespace does.
func (d *demo) inside(ctx context.Context, verb string) error {
	switch verb {
	case "end":
		return d.command(ctx, d.dir, d.mainstay("down", "--purge")...)
	case "show":
		d.talk = true
		if err := d.play(ctx); err != nil {
			return err
		}
		d.howToGoOn()
		return nil
	case "check":
		if err := d.play(ctx); err != nil {
			d.tail()
			return err
		}
		d.report()
		return nil
	}
	return fmt.Errorf("unknown verb %q", verb)
}
