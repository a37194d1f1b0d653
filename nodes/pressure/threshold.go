// Package pressure decides when a node has too little left of something that it cannot take back, what it then tells the
// cluster, and which pod has to go. It is pure: levels, pods and the time go in, conditions and a victim come out. The rules
// and the words are Kubernetes' ("Node-pressure Eviction").
package pressure

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// A Signal names what is measured.
type Signal string

const (
	Memory      Signal = "memory.available"
	PodsMemory  Signal = "allocatableMemory.available" // what pods may still use of what is theirs together
	NodeFS      Signal = "nodefs.available"
	NodeInodes  Signal = "nodefs.inodesFree"
	ImageFS     Signal = "imagefs.available"
	ImageInodes Signal = "imagefs.inodesFree"
	PIDs        Signal = "pid.available"
)

// signals that one can set thresholds for, in the order in which they are looked after.
var signals = []Signal{Memory, PodsMemory, NodeFS, NodeInodes, ImageFS, ImageInodes, PIDs}

// condition of the node that a signal speaks for.
func (s Signal) condition() corev1.NodeConditionType {
	switch s {
	case Memory, PodsMemory:
		return corev1.NodeMemoryPressure
	case PIDs:
		return corev1.NodePIDPressure
	}
	return corev1.NodeDiskPressure
}

// resource that is short when the signal is low.
func (s Signal) resource() corev1.ResourceName {
	switch s {
	case Memory, PodsMemory:
		return corev1.ResourceMemory
	case NodeFS, ImageFS:
		return corev1.ResourceEphemeralStorage
	case PIDs:
		return "pids"
	}
	return "inodes"
}

// An Amount is a quantity, in bytes or pieces, or a share of all there is.
type Amount struct {
	Quantity int64
	Share    float64 // 0 to 1; 0: the quantity counts
}

// Of is the amount for something of which there is so much.
func (a Amount) Of(capacity int64) int64 {
	if a.Share > 0 {
		return int64(a.Share * float64(capacity))
	}
	return a.Quantity
}

// String is a as it is given on the command line.
func (a Amount) String() string {
	if a.Share > 0 {
		return strconv.FormatFloat(a.Share*100, 'g', -1, 64) + "%"
	}
	return resource.NewQuantity(a.Quantity, resource.BinarySI).String()
}

// A Threshold is crossed when less than Value is left, and done with when Value and Reclaim are there again.
type Threshold struct {
	Signal  Signal
	Value   Amount
	Hard    bool
	Grace   time.Duration // of a soft one: how long it must be crossed before a pod has to go
	Reclaim Amount
}

// Settings as they are given on the command line, in kubelet's syntax: comma-separated lists.
type Settings struct {
	Hard       string        // signal<amount
	Soft       string        // signal<amount
	SoftGrace  string        // signal=duration, for each of Soft
	MinReclaim string        // signal=amount
	Transition time.Duration // how long a condition stays after it was last seen
	MaxGrace   time.Duration // that a pod gets when a soft threshold is crossed
}

// Defaults are kubelet's.
func Defaults() Settings {
	return Settings{
		Hard:       "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%",
		Transition: 5 * time.Minute,
	}
}

// Thresholds reads s.
func (s Settings) Thresholds() ([]Threshold, error) {
	reclaim, err := list("--eviction-minimum-reclaim", s.MinReclaim, "=", parseAmount)
	if err != nil {
		return nil, err
	}
	grace, err := list("--eviction-soft-grace-period", s.SoftGrace, "=", time.ParseDuration)
	if err != nil {
		return nil, err
	}
	hard, err := list("--eviction-hard", s.Hard, "<", parseAmount)
	if err != nil {
		return nil, err
	}
	soft, err := list("--eviction-soft", s.Soft, "<", parseAmount)
	if err != nil {
		return nil, err
	}
	var all []Threshold
	for signal, value := range hard {
		all = append(all, Threshold{Signal: signal, Value: value, Hard: true, Reclaim: reclaim[signal]})
		if signal == Memory { // what is promised to pods together is guarded like what the node has
			all = append(all, Threshold{Signal: PodsMemory, Value: value, Hard: true, Reclaim: reclaim[signal]})
		}
	}
	for signal, value := range soft {
		d, ok := grace[signal]
		if !ok || d <= 0 {
			return nil, fmt.Errorf("--eviction-soft %s: say how long it must be so, as in --eviction-soft-grace-period %s=1m30s", signal, signal)
		}
		all = append(all, Threshold{Signal: signal, Value: value, Grace: d, Reclaim: reclaim[signal]})
	}
	slices.SortFunc(all, byUrgency)
	return all, nil
}

// byUrgency puts memory first, and what is hard before what is soft.
func byUrgency(a, b Threshold) int {
	rank := func(t Threshold) int {
		n := 2 * slices.Index(signals, t.Signal)
		if !t.Hard {
			n++
		}
		return n
	}
	return cmp.Compare(rank(a), rank(b))
}

// list reads "signal<value,signal<value".
func list[T any](flag, text, sign string, parse func(string) (T, error)) (map[Signal]T, error) {
	all := map[Signal]T{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, value, ok := strings.Cut(item, sign)
		signal := Signal(strings.TrimSpace(name))
		if !ok {
			return nil, fmt.Errorf("%s %q: want SIGNAL%sVALUE, such as %s%s", flag, item, sign, Memory, sign)
		}
		if signal == PodsMemory || !slices.Contains(signals, signal) {
			return nil, fmt.Errorf("%s %q: there is no signal %q; there are %s, %s, %s, %s, %s and %s", flag, item, signal, Memory, NodeFS, NodeInodes, ImageFS, ImageInodes, PIDs)
		}
		if _, twice := all[signal]; twice {
			return nil, fmt.Errorf("%s: %s is there twice", flag, signal)
		}
		v, err := parse(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", flag, item, err)
		}
		all[signal] = v
	}
	return all, nil
}

func parseAmount(text string) (Amount, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= 100) {
			return Amount{}, fmt.Errorf("want a share from 0%% to 100%%")
		}
		return Amount{Share: n / 100}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return Amount{}, fmt.Errorf("want a quantity such as 100Mi, or a share such as 10%%")
	}
	return Amount{Quantity: q.Value()}, nil
}

// Kept is how much of the node's memory and disk its hard thresholds keep from pods: it is not allocatable.
func Kept(all []Threshold, capacity corev1.ResourceList) corev1.ResourceList {
	kept := corev1.ResourceList{}
	for _, t := range all {
		name := t.Signal.resource()
		q, ok := capacity[name]
		if t.Hard && ok && (t.Signal == Memory || t.Signal == NodeFS) {
			kept[name] = *resource.NewQuantity(t.Value.Of(q.Value()), resource.BinarySI)
		}
	}
	return kept
}
