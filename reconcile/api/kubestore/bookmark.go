package kubestore

import (
	"context"
	"sync"
	"time"
)

// A watch sends its last bookmark this long before its time is up, so that who resumes it knows how far it came.
const farewell = 2 * time.Second

// due tells when the next bookmark is: each period, and shortly before the context's deadline. Its zero value is never.
type due struct {
	timer  *time.Timer
	period time.Duration
	last   time.Time // when the farewell is due; zero if it was sent, or there is no deadline
}

func newDue(ctx context.Context, wanted bool, period time.Duration) *due {
	d := &due{period: period}
	if !wanted || period <= 0 {
		return d
	}
	if deadline, ok := ctx.Deadline(); ok {
		d.last = deadline.Add(-farewell)
	}
	d.timer = time.NewTimer(d.wait())
	return d
}

func (d *due) wait() time.Duration {
	if d.last.IsZero() {
		return d.period
	}
	left := time.Until(d.last)
	if left <= d.period {
		d.last = time.Time{}
		return max(left, 0)
	}
	return d.period
}

func (d *due) again() { d.timer.Reset(d.wait()) }

func (d *due) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

// C fires when a bookmark is due.
func (d *due) C() <-chan time.Time {
	if d.timer == nil {
		return nil
	}
	return d.timer.C
}

// A signal wakes all that wait for its next time.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

// next is closed when the signal is raised next.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
