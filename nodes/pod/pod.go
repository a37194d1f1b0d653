// Package pod decides what is to be done next about one pod on this machine, and what its status is. It is pure: what is
// wanted, what is seen and the time go in; steps, a status and checks come out. Nothing is remembered between decisions
// but what Seen holds, and most of that can be looked up again, so that a new process goes on where an old one ended.
package pod

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Part is how far a part of a pod is there: its network or its files.
type Part string

const (
	Unknown Part = "" // nobody looked yet: make it (or remove it), which does nothing if that is done already
	Here    Part = "here"
	Gone    Part = "gone"
)

// Seen is what is known of one pod on this machine. Its zero value is what a new process knows.
type Seen struct {
	Host    netip.Addr       // this machine's address
	Sandbox *runtime.Sandbox // nil: there is none

	Network Part
	Address netip.Addr // of the pod, while Network is Here
	Volumes Part
	Stale   bool // what the volumes show was changed
	Files   Part // the pod's folder, with its logs

	Images       map[string]Image      // by container
	VolumeImages map[string]Image      // by volume; until they are mounted
	Hooks        map[HookKey]Hook      // that were begun
	Checks       map[CheckKey]bool     // what probes have found: passed, or failed for good; absent: nothing yet
	Stops        map[runtime.ID]Stop   // containers that were told to end
	Messages     map[runtime.ID]string // the last words of containers that ended
	Withdraw     Withdrawal            // of the address from all services
	Failed       map[Move]Failure      // moves that failed, until they succeed
	Eviction     *Eviction             // this machine ends the pod; nil: it does not
	Refused      *Refusal              // this machine does not take the pod; nil: it does
	Status       *corev1.PodStatus     // that of the last decision; nil: the stored one counts
}

// An Image is what became of the image of a container, or of a volume.
type Image struct {
	Attempt int    // the run of the container that asked for it; 0 for a volume
	Pulling bool   // not here yet
	Name    string // as the runtime wants it named
}

// A Stop is when a container's end began, from which its grace period counts, when it was told to end, and when it was
// killed.
type Stop struct {
	Began, Asked, Killed time.Time
	Grace                time.Duration
}

// A Withdrawal is whether the network was asked to lead nobody to the pod, and since when it does not.
type Withdrawal struct {
	Asked bool
	Done  time.Time
}

// Op is a kind of step.
type Op string

const (
	Pull          Op = "pull"       // have the image of the container, or of the volume, on this machine; may go on in the background
	MakeSandbox   Op = "sandbox"    // make what the containers share
	Attach        Op = "attach"     // give it an address
	MakeVolumes   Op = "volumes"    // make its volumes, or bring them up to date
	MountImage    Op = "image"      // mount the image of a volume in the sandbox
	Create        Op = "create"     // make one run of a container
	Start         Op = "start"      // start it
	RunHook       Op = "hook"       // run one of its lifecycle hooks; goes on in the background
	Remove        Op = "remove"     // remove one run of a container that ended
	Withdraw      Op = "withdraw"   // have the network lead nobody to its address; goes on in the background
	Signal        Op = "signal"     // send a signal to a container
	Detach        Op = "detach"     // take its address
	RemoveSandbox Op = "no-sandbox" // remove sandbox and containers
	RemoveVolumes Op = "no-volumes" // remove its volumes
	RemoveFiles   Op = "no-files"   // remove its folder, with its logs
)

// A Step is one thing to do. All are idempotent.
type Step struct {
	Op        Op
	Container string // of Pull, Create, Start, RunHook, Remove, Signal
	Volume    string // of MountImage, and of Pull in place of Container
	Attempt   int
	Crashes   int            // of Create: how often in a row the container ended before
	Hook      HookKind       // of RunHook
	Within    time.Duration  // of RunHook: how long it may take; 0: as long as the container runs
	Signal    syscall.Signal // of Signal; 0: the container's own stop signal
	Grace     time.Duration  // of Signal, and of a hook before it: how long the container has to end
	Why       string         // of Signal, and of a hook before it: a sentence for people
}

// Move is what of a step counts when it fails.
func (s Step) Move() Move { return Move{s.Op, s.Container, s.Volume} }

func (s Step) String() string {
	var b strings.Builder
	b.WriteString(string(s.Op))
	if s.Container != "" {
		fmt.Fprintf(&b, " %s#%d", s.Container, s.Attempt)
	}
	if s.Volume != "" {
		fmt.Fprintf(&b, " volume %s", s.Volume)
	}
	if s.Op == RunHook {
		fmt.Fprintf(&b, " %s", s.Hook)
	}
	if s.Op == Signal {
		name := "stop"
		if s.Signal != 0 {
			name = strings.ToUpper(s.Signal.String())
		}
		fmt.Fprintf(&b, " %s", name)
	}
	return b.String()
}

// A Move is a step whichever run of the container it is for.
type Move struct {
	Op        Op
	Container string
	Volume    string
}

// A Failure is how a move fails.
type Failure struct {
	Attempt int       // the run of the container that it was for
	Count   int       // in a row
	At      time.Time // the last one
	Reason  string    // as Kubernetes names it: ErrImagePull, CreateContainerConfigError, FailedMount
	Message string
}

// An Event is something that people should know.
type Event struct {
	Type      string // corev1.EventTypeNormal or EventTypeWarning
	Reason    string
	Container string // the one that it is about, if any
	Message   string
}

// Next is a decision. Steps are done in order; when one fails, the rest are not done, and a new decision is asked for. It
// is asked for anew when all are done, when something of Seen changed, and after After (0: nothing to wait for).
type Next struct {
	Steps  []Step
	Status corev1.PodStatus
	Checks []Check // to be run from now on; all others end
	Events []Event
	After  time.Duration
	Gone   bool // nothing of it is left here: the object may go
}

const settle = 100 * time.Millisecond // between the withdrawal of an address and the stop signal

// Decide says what is next for want.
func Decide(want *corev1.Pod, seen Seen, now time.Time) Next {
	if next, ok := refuse(want, seen, now); ok {
		return next
	}
	v := newView(want, seen, now)
	v.next.Status = v.status()
	switch {
	case want.DeletionTimestamp != nil:
		v.end()
	case finished(v.next.Status.Phase):
		v.finish()
	case v.eviction != nil:
		v.windUp()
	case len(v.unsupported) > 0:
	case v.over():
		v.windUp()
	default:
		v.bringUp()
	}
	v.events()
	return v.next
}

func finished(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// view is a decision being made.
type view struct {
	want        *corev1.Pod
	seen        Seen
	now         time.Time
	prev        *corev1.PodStatus // the newest status, written yet or not
	eviction    *Eviction         // nil: none
	init, main  []container
	extra       []container // ephemeral ones
	unsupported []string
	next        Next
}

func newView(want *corev1.Pod, seen Seen, now time.Time) *view {
	v := &view{want: want, seen: seen, now: now, prev: &want.Status}
	if seen.Status != nil {
		v.prev = seen.Status
	}
	v.eviction = v.evicted()
	runs := map[string][]runtime.Container{}
	if seen.Sandbox != nil && seen.Sandbox.Ready {
		for _, c := range seen.Sandbox.Containers {
			runs[c.ID.Name] = append(runs[c.ID.Name], c)
		}
	}
	v.init = v.containers(initial, want.Spec.InitContainers, runs, v.prev.InitContainerStatuses, want.Status.InitContainerStatuses)
	v.main = v.containers(regular, want.Spec.Containers, runs, v.prev.ContainerStatuses, want.Status.ContainerStatuses)
	v.extra = v.containers(ephemeral, ephemerals(&want.Spec), runs, v.prev.EphemeralContainerStatuses, want.Status.EphemeralContainerStatuses)
	for _, e := range Unsupported(&want.Spec) {
		v.unsupported = append(v.unsupported, "spec."+e.Error())
	}
	return v
}

// within asks for a new decision after d at the latest.
func (v *view) within(d time.Duration) {
	d = max(d, time.Millisecond)
	if v.next.After == 0 || d < v.next.After {
		v.next.After = d
	}
}

// do adds a step, unless it failed and it is not yet time to try it again.
func (v *view) do(s Step) bool {
	if f, ok := v.seen.Failed[s.Move()]; ok && f.Attempt == s.Attempt {
		if wait := f.At.Add(patience(s.Op, f.Count)).Sub(v.now); wait > 0 {
			v.within(wait)
			return false
		}
	}
	v.next.Steps = append(v.next.Steps, s)
	return true
}
