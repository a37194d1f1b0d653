package main

import (
	"context"
	"time"
)

// measureStart starts a daemon on an empty folder, with a containerd that has to be started too; ends it, and starts it again
// while its containerd runs on. The time is that from the start of the process to the line "ready in".
func measureStart(ctx context.Context, b *bench) error {
	first := b.row(row{Name: "start, first on an empty folder", Unit: "s", Aim: 0.4})
	again := b.row(row{Name: "start, again with containerd running", Unit: "s", Aim: 0.4})
	for range b.rounds {
		if err := startTwice(ctx, b, first, again); err != nil {
			return err
		}
	}
	return nil
}

func startTwice(ctx context.Context, b *bench, first, again *row) (err error) {
	n := b.newNode()
	defer func() { err = n.end(ctx, err) }()
	took, err := n.up(ctx)
	if err != nil {
		return err
	}
	first.ours(took.Seconds())
	for range quick {
		if took, err = n.restart(ctx); err != nil {
			return err
		}
		again.ours(took.Seconds())
	}
	return nil
}

func (n *node) restart(ctx context.Context) (time.Duration, error) {
	if err := n.stop(); err != nil {
		return 0, err
	}
	return n.up(ctx)
}
