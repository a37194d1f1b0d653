package image

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Event reasons of a Collector, as Kubernetes names them.
const (
	FreeDiskSpaceFailed = "FreeDiskSpaceFailed"
	ImageGCFailed       = "ImageGCFailed"
)

const (
	lookEvery    = 30 * time.Second // at what is here, and how full the disk is
	complainWait = 5 * time.Minute  // between complaints
)

// A Collector keeps account of the images that are here, and removes some that nobody uses when the disk fills. All
// functions are needed.
type Collector struct {
	Store Store
	Keep  Thresholds
	InUse func(context.Context) (map[string]bool, error) // references, normalised, and IDs of images that pods of this node have or want
	Here  func([]Image)                                  // told at each look what is here
	Tell  func(reason, message string)                   // told what people should know
	Now   func() time.Time
	Log   *slog.Logger

	mu   sync.Mutex           // held while images are looked at and removed
	last map[string]time.Time // by ID: when it was last seen in use

	failures   int // in a row; touched only by Step
	complained time.Time
}

// Run looks every half minute, until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		c.Step(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Step looks once, and removes what is to be removed.
func (c *Collector) Step(ctx context.Context) {
	err := c.collect(ctx)
	if err == nil || ctx.Err() != nil {
		c.failures = 0
		return
	}
	c.failures++
	c.Log.Warn("collecting images failed", "err", err)
	if now := c.Now(); now.Sub(c.complained) >= complainWait {
		c.complained = now
		if full, ok := err.(*fullError); ok {
			c.Tell(FreeDiskSpaceFailed, full.Error())
		}
		if c.failures > 1 {
			c.Tell(ImageGCFailed, fmt.Sprintf("Image garbage collection failed multiple times in a row: %v", err))
		}
	}
}

// A fullError says that the disk stays above the threshold, whatever is removed.
type fullError struct{ wanted, freed int64 }

func (e *fullError) Error() string {
	return fmt.Sprintf("Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", e.wanted, e.freed)
}

func (c *Collector) collect(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	have, unused, err := c.look(ctx)
	if err != nil {
		return err
	}
	defer c.Here(have)
	old := c.Keep.Outdated(unused, c.Now())
	for _, u := range old {
		if err := c.remove(ctx, u); err != nil {
			return err
		}
	}
	return c.free(ctx, unused[len(old):])
}

// free removes images until the disk is below the threshold. It is measured after each: images share what they consist of.
func (c *Collector) free(ctx context.Context, unused []Unused) error {
	disk, err := c.Store.Disk(ctx)
	if err != nil {
		return fmt.Errorf("measure the disk of the images: %w", err)
	}
	wanted, before := c.Keep.Excess(disk), disk.Free
	target := before + wanted
	for _, u := range unused {
		if wanted == 0 || disk.Free >= target {
			return nil
		}
		if err := c.remove(ctx, u); err != nil {
			return err
		}
		if disk, err = c.Store.Disk(ctx); err != nil {
			return fmt.Errorf("measure the disk of the images: %w", err)
		}
	}
	if wanted > 0 && disk.Free < target {
		return &fullError{wanted, max(0, disk.Free-before)}
	}
	return nil
}

// Reclaim removes all images that nobody uses, because something needs their room. Those that were loaded stay.
func (c *Collector) Reclaim(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, unused, err := c.look(ctx)
	if err != nil {
		return err
	}
	for _, u := range unused {
		if err := c.remove(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// look is what is here, and what of it may be removed.
func (c *Collector) look(ctx context.Context) ([]Image, []Unused, error) {
	have, err := c.Store.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	inUse, err := c.InUse(ctx) // after the list: what came since is in neither
	if err != nil {
		return nil, nil, fmt.Errorf("look at which images are in use: %w", err)
	}
	now := c.Now()
	seen := map[string]time.Time{}
	for _, i := range have {
		if inUse[i.Ref] || inUse[i.ID] {
			seen[i.ID] = now
		} else if at, ok := c.last[i.ID]; ok && seen[i.ID].IsZero() {
			seen[i.ID] = at
		}
	}
	c.last = seen
	return have, c.Keep.Unused(have, inUse, seen, now), nil
}

func (c *Collector) remove(ctx context.Context, u Unused) error {
	for _, ref := range slices.Sorted(slices.Values(u.Refs)) {
		if err := c.Store.Remove(ctx, ref); err != nil {
			return err
		}
	}
	c.Log.Info("removed an image that nobody uses", "refs", u.Refs, "bytes", u.Size, "last used", u.Last)
	return nil
}
