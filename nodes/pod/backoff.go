package pod

import (
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Containers that end are started again at once, then after 10 s, 20 s, and so on up to 5 min, until one has run for 10 min.
const (
	restartMin = 10 * time.Second
	restartMax = 5 * time.Minute
	restartOK  = 10 * time.Minute
)

// doubled is min, doubled n times, but no more than max.
func doubled(min, max time.Duration, n int) time.Duration {
	for range n {
		if min *= 2; min >= max {
			return max
		}
	}
	return min
}

// crashes is how often in a row a container has ended, with this run: what its next run is made with.
func crashes(c *runtime.Container) int {
	if !c.Started.IsZero() && c.Finished.Sub(c.Started) >= restartOK {
		return 1
	}
	return before(c) + 1
}

// restartAt is when a container that ended may be started again.
func restartAt(c *runtime.Container) time.Time {
	n := crashes(c)
	if n <= 1 {
		return c.Finished
	}
	return c.Finished.Add(doubled(restartMin, restartMax, n-2))
}

// patience is how long to wait until a move that failed count times in a row is tried again.
func patience(op Op, count int) time.Duration {
	if op == Pull {
		return doubled(10*time.Second, 5*time.Minute, count-1)
	}
	return doubled(500*time.Millisecond, 30*time.Second, count-1)
}
