// Package trigger says when to look at a source: at intervals, when files change, when a webhook comes. All of them only
// say "look now"; what is new, the look finds out.
package trigger

import (
	"context"
	"time"
)

// Interval looks every so often until ctx ends. jitter returns a random part of what it is given, so that many sources do
// not all look at once: each wait is between nine and eleven tenths of every.
func Interval(ctx context.Context, every time.Duration, jitter func(time.Duration) time.Duration, look func()) error {
	timer := time.NewTimer(wait(every, jitter))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			look()
			timer.Reset(wait(every, jitter))
		}
	}
}

func wait(every time.Duration, jitter func(time.Duration) time.Duration) time.Duration {
	return every - every/10 + jitter(every/5)
}
