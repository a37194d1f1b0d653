package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
)

// takeOver ends the daemon that uses the same data, if one runs and is of another version. What runs on the node goes on, and
// is found again. Whatever speaks against it is found before anything is stopped.
func takeOver(ctx context.Context, o *upOptions, out io.Writer) (taken bool, err error) {
	e, ok := o.running()
	if !ok {
		return false, nil
	}
	switch {
	case e.API == "":
		return false, fmt.Errorf("process %d is just starting with this data: wait until it is ready, or end it", e.PID)
	case e.Build == buildID():
		return false, fmt.Errorf("already running: process %d, mainstay %s, API %s; to start it anew, end it first: ^C or SIGTERM leaves the pods running", e.PID, e.Version, e.API)
	case e.Node != o.node:
		return false, fmt.Errorf("with this data runs the node %s (process %d): name it with --node %s, or choose another folder with --data", e.Node, e.PID, e.Node)
	case e.Containerd != o.containerd:
		return false, fmt.Errorf("the daemon that runs (process %d) was started with --containerd %q, and its containers are there: start this one with the same", e.PID, e.Containerd)
	}
	if err := understood(o); err != nil {
		return false, fmt.Errorf("cannot take over from mainstay %s, which goes on as process %d: %w", e.Version, e.PID, err)
	}
	fmt.Fprintf(out, "taking over from mainstay %s, process %d; pods go on running\n", e.Version, e.PID)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return true, stopDaemon(ctx, o.place)
}

// understood tells whether this version knows the formats of what is stored and pinned.
func understood(o *upOptions) error {
	if err := disk.Compatible(o.under("store")); err != nil {
		return err
	}
	tree, err := cgroup.Open()
	if err != nil {
		return err
	}
	return bpf.Compatible(o.bpf(tree))
}
