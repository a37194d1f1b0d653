package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
)

func newDownCommand(at *place) *cobra.Command {
	var purge bool
	var grace, critical time.Duration
	c := &cobra.Command{
		Use:   "down",
		Short: "End everything, and give back what it took of this machine; --purge removes the data too",
		Long: `Ends the pods, those of the lowest priority first and critical ones last, each with its grace period but none longer than
--grace in all; then the daemon if it runs, containers, mounts, namespaces, devices, routes, rules, pins and cgroups.
What is stored, and images, stay for the next mainstay up, which brings everything back; --purge removes them too.`,
		Example: `  mainstay down
  mainstay down --purge`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("down"); err != nil {
				return err
			}
			if !cmd.Flags().Changed("grace-critical") {
				critical = grace / 3
			}
			if critical < 0 || grace < critical {
				return fmt.Errorf("--grace-critical %s: want part of --grace %s", critical, grace)
			}
			if err := restPods(cmd.Context(), *at, grace, critical, cmd.OutOrStdout()); err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "ending all pods at once:", err)
			}
			return down(cmd.Context(), *at, purge, cmd.OutOrStdout())
		},
	}
	c.Flags().DurationVar(&grace, "grace", 30*time.Second, "how long pods may take to end, all together; 0: they are killed")
	c.Flags().DurationVar(&critical, "grace-critical", 0, "how much of that is for critical pods (default: a third)")
	c.Flags().BoolVar(&purge, "purge", false, "remove the data folder too")
	return c
}

func down(ctx context.Context, at place, purge bool, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	e, err := at.endpoints()
	if err != nil {
		if purge {
			return errors.Join(os.RemoveAll(at.run()), os.RemoveAll(at.data))
		}
		return err
	}
	if err := stopDaemon(ctx, at); err != nil {
		return err
	}
	tree, err := cgroup.Open()
	if err != nil {
		return err
	}
	o := &upOptions{place: at, node: e.Node, containerd: e.Containerd}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"containers", func(ctx context.Context) error { return purgeRuntime(ctx, o, tree, log) }},
		{"keeper", newKeeper(o, tree, log).Stop},
		{"volumes", func(context.Context) error { return volume.In(o.under("pods"), o.runDir("memory")).Purge() }},
		{"network", func(ctx context.Context) error { return podnet.Remove(ctx, o.podnet(netip.Prefix{}, nil, log)) }},
		{"dataplane", func(context.Context) error { return bpf.Remove(o.bpf(tree)) }},
		{"cgroups", func(ctx context.Context) error { return tree.Remove(ctx, o.group()) }},
		{"run folder", func(context.Context) error { return os.RemoveAll(o.run()) }},
	}
	var errs []error
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not everything could be given back; mainstay down tries again:\n%w", err)
	}
	if purge {
		if err := os.RemoveAll(at.data); err != nil {
			return err
		}
		fmt.Fprintf(out, "everything is given back, and %s is removed\n", at.data)
		return nil
	}
	fmt.Fprintf(out, "everything is given back; what is stored stays in %s\n", at.data)
	return nil
}

// purgeRuntime ends all pods, and the containerd that is ours.
func purgeRuntime(ctx context.Context, o *upOptions, tree *cgroup.Tree, log *slog.Logger) error {
	if o.containerd == "" {
		if err := newContainerd(o, tree, log).Ensure(); err != nil {
			return err
		}
	}
	client, err := containerd.Connect(ctx, o.socket(), o.namespace())
	if err != nil {
		return err
	}
	defer client.Close()
	r, err := containerd.Open(ctx, client, containerd.NewImages(client), containerd.Config{RunDir: o.runDir("runtime"), Tree: tree, Pods: tree.NewPods(o.group("pods")), Log: log})
	if err != nil {
		return err
	}
	if err := r.Clear(ctx); err != nil {
		return err
	}
	if o.containerd != "" {
		return nil // its images stay: they may be in use by others
	}
	return newContainerd(o, tree, log).Stop(ctx)
}

// running returns the endpoints of the daemon that uses this place, if one runs: the one that holds the store, whoever has
// its process ID by now that stands in a file.
func (p place) running() (endpoints, bool) {
	pid, ok := disk.Holder(p.under("store"))
	if !ok {
		return endpoints{}, false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !slices.Contains(strings.Split(string(cmdline), "\x00"), "up") {
		return endpoints{}, false // something else is done with the store, such as a backup
	}
	e, err := p.endpoints()
	if err != nil || e.PID != pid {
		e = endpoints{PID: pid}
	}
	return e, true
}

// stopDaemon ends the daemon, and waits for its end.
func stopDaemon(ctx context.Context, at place) error {
	e, ok := at.running()
	if !ok {
		return nil
	}
	fd, err := unix.PidfdOpen(e.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return fmt.Errorf("the daemon (process %d) does not end", e.PID)
}
