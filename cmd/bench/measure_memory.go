package main

import (
	"context"
	"fmt"
	"time"
)

const (
	settle      = 10 * time.Second // before memory is read
	restFor     = 20 * time.Second // while the daemon's CPU time is counted
	memoryPods  = 100
	memoryCalls = 3 // readings, of which the table shows the spread
)

// measureMemory reads how much memory a Mainstay uses after its start, and with 100 pods and 10,000 other objects; and how much
// CPU the daemon uses then, while nothing happens. It is taken once: what is read settles slowly. Nothing makes the daemon
// collect its garbage: what it holds half a minute after the work is what a user sees. The pods have no probes.
func measureMemory(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		if err := pause(ctx, settle); err != nil {
			return err
		}
		if err := n.recordMemory(ctx, "idle", 50); err != nil {
			return err
		}
		files := bigManifests()
		files["web.yaml"] = deployment("web", "v1", memoryPods, false)
		r, err := b.repository(ctx, "memory", files)
		if err != nil {
			return err
		}
		if err := r.on(ctx, n); err != nil {
			return err
		}
		s, err := n.readyPods(ctx, "web", memoryPods)
		if err != nil {
			return err
		}
		if _, err := r.push(ctx, "mainstay", "no-wait"); err != nil {
			s.stop()
			return err
		}
		if _, err := s.wait(ctx, 2*patience); err != nil {
			return err
		}
		if err := pause(ctx, settle); err != nil {
			return err
		}
		if err := n.recordCPU(ctx); err != nil {
			return err
		}
		return n.recordMemory(ctx, fmt.Sprintf("%d pods, 10,000 objects", memoryPods), 120)
	})
}

// recordMemory makes rows of what the node's processes use now. The aim is for the daemon.
func (n *node) recordMemory(ctx context.Context, when string, aim float64) error {
	rows := map[string][2]*row{}
	for range memoryCalls {
		sums, err := n.footprints()
		if err != nil {
			return err
		}
		for _, role := range []string{"daemon", "keeper", "containerd", "shim"} {
			f, ok := sums[role]
			if !ok {
				continue
			}
			if rows[role][0] == nil {
				name := role
				if role == "shim" {
					name = fmt.Sprintf("%d shims", f.count)
				}
				anon := n.b.row(row{Name: fmt.Sprintf("memory, %s, %s, RssAnon", when, name), Unit: "MiB"})
				if role == "daemon" {
					anon.Aim = aim
				}
				rows[role] = [2]*row{anon, n.b.row(row{Name: fmt.Sprintf("memory, %s, %s, RSS", when, name), Unit: "MiB"})}
			}
			rows[role][0].ours(f.anon)
			rows[role][1].ours(f.resting)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// recordCPU makes a row of what the daemon uses while nothing happens.
func (n *node) recordCPU(ctx context.Context) error {
	before, err := n.cpuTime()
	if err != nil {
		return err
	}
	started := time.Now()
	if err := pause(ctx, restFor); err != nil {
		return err
	}
	after, err := n.cpuTime()
	if err != nil {
		return err
	}
	cpu := n.b.row(row{Name: fmt.Sprintf("CPU of the daemon at rest, %d pods", memoryPods), Unit: "% of a core", Aim: 2})
	cpu.ours(100 * (after - before).Seconds() / time.Since(started).Seconds())
	return nil
}

// pause lets time pass: it is what is measured.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
