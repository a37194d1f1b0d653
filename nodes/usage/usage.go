// Package usage measures what this machine and its containers use of processors and memory. Nobody is measured while nobody
// asks: a measurement is two readings, of which the first is the last one that somebody asked for, if that is not long ago.
package usage

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Used is what something uses.
type Used struct {
	Cores  float64       // over Window
	Memory int64         // bytes that cannot be taken back: the working set
	Window time.Duration // that ends with the measurement
	CPU    time.Duration // of processors, since it began
}

// A Measurement is what this machine uses in all, and each container that runs.
type Measurement struct {
	At         time.Time
	Node       Used
	Containers map[runtime.ID]Used
}

// A Reading is what the counters say at one moment.
type Reading struct {
	At         time.Time
	Node       Counted
	Containers map[runtime.ID]Counted
}

// Counted is what was used so far.
type Counted struct {
	Since  time.Time // when CPU was 0; zero: unknown
	CPU    time.Duration
	Memory int64
}

// Rates is what was used between two readings. Of what began between them it is what it used since.
func Rates(from, to Reading) Measurement {
	m := Measurement{At: to.At, Node: rate(from.At, from.Node, to.At, to.Node), Containers: map[runtime.ID]Used{}}
	for id, c := range to.Containers {
		before, known := from.Containers[id]
		switch {
		case known:
			m.Containers[id] = rate(from.At, before, to.At, c)
		case !c.Since.IsZero():
			m.Containers[id] = rate(c.Since, Counted{}, to.At, c)
		}
	}
	return m
}

func rate(from time.Time, before Counted, to time.Time, after Counted) Used {
	u := Used{Memory: after.Memory, Window: to.Sub(from), CPU: after.CPU}
	if u.Window > 0 {
		u.Cores = max(0, (after.CPU-before.CPU).Seconds()/u.Window.Seconds())
	}
	return u
}

// Runtime is what there is to measure.
type Runtime interface {
	Sandboxes(ctx context.Context) ([]runtime.Sandbox, error)
}

// A Meter measures. It is safe for concurrent use.
type Meter struct {
	Runtime Runtime
	Tree    *cgroup.Tree
	Proc    string // where the machine's numbers are: "/proc"
	Now     func() time.Time

	mu   sync.Mutex
	last Reading
	said Measurement
}

const (
	fresh    = 5 * time.Second // a measurement serves everybody who asks for as long
	longest  = time.Minute     // between two readings of a measurement
	shortest = time.Second
)

// Measure measures. It takes a second if nobody has asked within the last minute.
func (m *Meter) Measure(ctx context.Context) (Measurement, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	if since := now.Sub(m.said.At); since >= 0 && since < fresh {
		return m.said, nil
	}
	if since := now.Sub(m.last.At); since < 0 || since > longest {
		if err := m.begin(ctx); err != nil {
			return Measurement{}, err
		}
	}
	next, err := m.read(ctx)
	if err != nil {
		return Measurement{}, fmt.Errorf("measure what is used: %w", err)
	}
	m.said, m.last = Rates(m.last, next), next
	return m.said, nil
}

// begin takes a first reading, and waits until there can be a second.
func (m *Meter) begin(ctx context.Context) (err error) {
	if m.last, err = m.read(ctx); err != nil {
		return fmt.Errorf("measure what is used: %w", err)
	}
	timer := time.NewTimer(shortest)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// read reads all counters. A container that ends meanwhile is left out.
func (m *Meter) read(ctx context.Context) (Reading, error) {
	boxes, err := m.Runtime.Sandboxes(ctx)
	if err != nil {
		return Reading{}, err
	}
	r := Reading{At: m.Now(), Containers: map[runtime.ID]Counted{}}
	if r.Node, err = machine(m.Proc); err != nil {
		return Reading{}, err
	}
	for _, b := range boxes {
		maps.Copy(r.Containers, m.readPod(b))
	}
	return r, nil
}

func (m *Meter) readPod(b runtime.Sandbox) map[runtime.ID]Counted {
	out := map[runtime.ID]Counted{}
	for _, c := range b.Containers {
		if c.State != runtime.Running || c.Cgroup == "" {
			continue
		}
		cpu, err := m.Tree.CPU(c.Cgroup)
		if err != nil {
			continue
		}
		memory, err := m.Tree.WorkingSet(c.Cgroup)
		if err != nil {
			continue
		}
		out[c.ID] = Counted{Since: c.Started, CPU: cpu, Memory: memory}
	}
	return out
}
