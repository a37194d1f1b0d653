package pressure

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Level is how much is left of how much. What cannot be measured has no level, and crosses no threshold.
type Level struct{ Available, Capacity int64 }

// Levels by signal.
type Levels map[Signal]Level

// A Past is what one judgement hands to the next. Its zero value knows of nothing.
type Past struct {
	crossed map[Threshold]time.Time                // since when
	seen    map[corev1.NodeConditionType]time.Time // when last
}

// A Judgement is how the node is.
type Judgement struct {
	Under map[corev1.NodeConditionType]bool // conditions that hold
	Act   *Threshold                        // something must be given back for its sake; nil: nothing
	Level Level                             // of Act's signal
	Next  Past
}

// Conditions that are judged, in the order in which people read them.
func Conditions() []corev1.NodeConditionType {
	return []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}
}

// Judge says which thresholds are crossed. A condition holds as soon as one of its thresholds is crossed, and for the time of
// transition after it was; the first threshold that was crossed for its grace period is to be acted upon.
func Judge(levels Levels, all []Threshold, transition time.Duration, was Past, now time.Time) Judgement {
	j := Judgement{
		Under: map[corev1.NodeConditionType]bool{},
		Next:  Past{crossed: map[Threshold]time.Time{}, seen: map[corev1.NodeConditionType]time.Time{}},
	}
	for _, t := range slices.SortedFunc(slices.Values(all), byUrgency) {
		since, before := was.crossed[t]
		level, measured := levels[t.Signal]
		if !measured || !crossed(t, level, before) {
			continue
		}
		if !before {
			since = now
		}
		j.Next.crossed[t] = since
		j.Next.seen[t.Signal.condition()] = now
		if j.Act == nil && (t.Hard || now.Sub(since) >= t.Grace) {
			j.Act, j.Level = &t, level
		}
	}
	for _, c := range Conditions() {
		if _, is := j.Next.seen[c]; !is {
			last, before := was.seen[c]
			if !before || now.Sub(last) >= transition {
				continue
			}
			j.Next.seen[c] = last
		}
		j.Under[c] = true
	}
	return j
}

// crossed: one that was crossed stays so until a little more is there than it asks for.
func crossed(t Threshold, l Level, before bool) bool {
	value := t.Value.Of(l.Capacity)
	if before {
		value += t.Reclaim.Of(l.Capacity)
	}
	return l.Available < value
}

// Disk tells whether what is short can be had by collecting images.
func (t *Threshold) Disk() bool { return t.Signal.condition() == corev1.NodeDiskPressure }

// Resource is what is short.
func (t *Threshold) Resource() corev1.ResourceName { return t.Signal.resource() }
