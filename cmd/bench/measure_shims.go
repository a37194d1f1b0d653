package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/oci"
)

// shimGroup is the annotation by which containers share a shim.
const shimGroup = "io.containerd.runc.v2.group"

// measureShims reads what the shims of 100 bare containers use, one a container, as Mainstay has it, and one for ten.
func measureShims(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		one := b.row(row{Name: "shims of 100 containers, one each, RssAnon", Unit: "MiB"})
		ten := b.row(row{Name: "shims of 100 containers, in groups of ten, RssAnon", Unit: "MiB"})
		bare, err := newBareLoop(ctx, n)
		if err != nil {
			return err
		}
		defer bare.close()
		for i := range b.rounds {
			alone := func() error { return bare.shims(ctx, n, one, 1) }
			grouped := func() error { return bare.shims(ctx, n, ten, 10) }
			if err := turns(i, alone, grouped); err != nil {
				return err
			}
		}
		return nil
	})
}

// shims starts 100 containers, so many of which share a shim, and notes what the shims use a moment later.
func (l *bareLoop) shims(ctx context.Context, n *node, rw *row, size int) error {
	err := each(hundred, func(i int) error {
		return l.start(l.in(ctx), i, oci.WithAnnotations(map[string]string{shimGroup: fmt.Sprint("group-", i/size)}))
	})
	if err == nil {
		err = pause(ctx, settle/5)
	}
	if err == nil {
		var sums map[string]footprint
		if sums, err = n.footprints(); err == nil {
			rw.ours(sums["shim"].anon)
		}
		if got := sums["shim"].count; err == nil && got != hundred/size {
			err = fmt.Errorf("%d shims run, want %d", got, hundred/size)
		}
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, each(hundred, func(i int) error { return l.remove(l.in(late), i) }))
}
