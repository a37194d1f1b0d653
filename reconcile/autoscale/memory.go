package autoscale

import (
	"encoding/json"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// memoryKey is the annotation that holds a memory.
const memoryKey = "mainstay.dev/autoscaling"

// A memory is what an autoscaler wanted and did of late.
type memory struct {
	Wanted  []moment `json:"wanted,omitempty"`  // sizes, each from its time on until that of the next
	Changes []moment `json:"changes,omitempty"` // of the size
}

type moment struct {
	At time.Time `json:"at"`
	N  int32     `json:"n"`
}

// The limits of a memory.
const (
	mostMoments   = 100
	longestPeriod = 30 * time.Minute // of a policy
)

// recall reads the memory of h. One that cannot be read is lost.
func recall(h *autoscalingv2.HorizontalPodAutoscaler) (m memory) {
	if json.Unmarshal([]byte(h.Annotations[memoryKey]), &m) != nil {
		return memory{}
	}
	return m
}

// keep writes the memory into h.
func (m *memory) keep(h *autoscalingv2.HorizontalPodAutoscaler) {
	if len(m.Wanted)+len(m.Changes) == 0 {
		return
	}
	if b, err := json.Marshal(m); err == nil {
		metav1.SetMetaDataAnnotation(&h.ObjectMeta, memoryKey, string(b))
	}
}

// begin holds the size that an autoscaler found for wanted, so that it does not shrink at once.
func (m *memory) begin(current int32, now time.Time) {
	if len(m.Wanted) == 0 {
		m.Wanted = []moment{{now.UTC(), current}}
	}
}

// recommended remembers what is wanted from now on, and forgets what was over before the window.
func (m *memory) recommended(n int32, now time.Time, window time.Duration) {
	if last := len(m.Wanted) - 1; last < 0 || m.Wanted[last].N != n {
		m.Wanted = append(m.Wanted, moment{now.UTC(), n})
	}
	old := 0
	for old+1 < len(m.Wanted) && !m.Wanted[old+1].At.After(now.Add(-window)) {
		old++
	}
	m.Wanted = m.Wanted[max(old, len(m.Wanted)-mostMoments):]
}

// span is the least that was wanted within one window, and the most within another, n included.
func (m *memory) span(n int32, now time.Time, up, down time.Duration) (lowest, highest int32) {
	lowest, highest = n, n
	for i, w := range m.Wanted {
		until := now
		if i+1 < len(m.Wanted) {
			until = m.Wanted[i+1].At
		}
		if until.After(now.Add(-up)) {
			lowest = min(lowest, w.N)
		}
		if until.After(now.Add(-down)) {
			highest = max(highest, w.N)
		}
	}
	return lowest, highest
}

// scaled remembers a change of the size.
func (m *memory) scaled(by int32, now time.Time) {
	kept := m.Changes[:0]
	for _, c := range m.Changes {
		if c.At.After(now.Add(-longestPeriod)) {
			kept = append(kept, c)
		}
	}
	m.Changes = append(kept, moment{now.UTC(), by})
	m.Changes = m.Changes[max(len(m.Changes)-mostMoments, 0):]
}

// change is by how much the size has changed since a time.
func (m *memory) change(since time.Time) (n int32) {
	for _, c := range m.Changes {
		if c.At.After(since) {
			n += c.N
		}
	}
	return n
}
