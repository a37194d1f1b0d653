package pod

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

const (
	modelled = `{volumes: [{name: m, image: {reference: "model:v1"}}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}, {name: m, mountPath: /n, subPath: x}]}]}`
	halfOf   = `{volumes: [{name: m, image: {reference: "model:v1"}}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}]}, {name: b}]}`
	bothOf   = `{volumes: [{name: m, image: {reference: "model:v1"}}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}]}, {name: b, volumeMounts: [{name: m, mountPath: /m}]}]}`
	lateOf   = `{volumes: [{name: m, image: {reference: "model:v1"}}], initContainers: [{name: i}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}]}]}`
	nobodyOf = `{volumes: [{name: m, image: {reference: "model:v1"}}], containers: [{name: a}]}`
	earlyOf  = `{volumes: [{name: m, image: {reference: "model:v1"}}], initContainers: [{name: i, volumeMounts: [{name: m, mountPath: /m}]}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}]}]}`
)

// pulled has the image of the volume m here.
func pulled(s *Seen) { s.VolumeImages = map[string]Image{"m": {Name: "model:v1"}} }

func pulling(s *Seen) { s.VolumeImages = map[string]Image{"m": {Pulling: true}} }

// shown has it mounted.
func shown(s *Seen) { s.Sandbox.Images = []runtime.ImageMount{{Volume: "m", Path: "/m"}} }

func noVolume(op Op, reason string, count int) func(*Seen) {
	return func(s *Seen) {
		s.Failed = map[Move]Failure{{Op: op, Volume: "m"}: {Count: count, At: now, Reason: reason, Message: "no luck"}}
	}
}

func TestTheImageOfAVolumeIsPulledAndMountedForThoseThatMountIt(t *testing.T) {
	for _, row := range []struct {
		name, want string
		seen       Seen
		next       string
	}{
		{"it is pulled with the container's own", modelled, Seen{}, "pull a#0, pull volume m, sandbox, attach, volumes"},
		{"for several containers once", bothOf, with(with(up(), image("a", 0)), image("b", 0)), "pull volume m"},
		{"not for those whose turn it is not", lateOf, up(), "pull i#0"},
		{"and not for nobody", nobodyOf, with(up(), image("a", 0)), "create a#0, start a#0"},
		{"the container waits for it", modelled, with(with(up(), image("a", 0)), pulling), ""},
		{"others do not", halfOf, with(with(with(up(), image("a", 0)), image("b", 0)), pulling), "create b#0, start b#0"},
		{"nor when it cannot be had", halfOf, with(with(with(up(), image("a", 0)), image("b", 0)), noVolume(Pull, errPull, 1)), "create b#0, start b#0, after 10s"},
		{"nor when it cannot be mounted", halfOf, with(with(with(with(up(), image("a", 0)), image("b", 0)), pulled), noVolume(MountImage, "FailedMount", 1)), "create b#0, start b#0, after 500ms"},
		{"it is mounted before the container is made", modelled, with(with(up(), image("a", 0)), pulled), "image volume m, create a#0, start a#0"},
		{"for several containers once, too", bothOf, with(with(with(up(), image("a", 0)), image("b", 0)), pulled), "image volume m, create a#0, start a#0, create b#0, start b#0"},
		{"one that is mounted stays as it is", modelled, with(with(up(), image("a", 0)), shown), "create a#0, start a#0"},
		{"also for a container that starts again", modelled, with(up(a("a", 0, runtime.Exited)), shown), "pull a#1"},
		{"a new process asks for nothing of what runs", modelled, with(up(a("a", 0, runtime.Running)), shown), ""},
		{"it is resolved anew for a sandbox that is made anew", modelled,
			with(with(up(a("a", 0, runtime.Unknown)), shown), func(s *Seen) { s.Sandbox.Ready = false }), "pull a#0, pull volume m, sandbox, attach"},
	} {
		if got := say(Decide(parse(t, row.want), row.seen, now)); got != row.next {
			t.Errorf("%s: got %q, want %q", row.name, got, row.next)
		}
	}
}

func TestAContainerSaysWhatItsVolumesImageLacks(t *testing.T) {
	for _, row := range []struct {
		name, want string
		seen       Seen
		says       string
	}{
		{"a pull that failed", modelled, with(up(), noVolume(Pull, errPull, 1)), "a ErrImagePull: no luck"},
		{"one that failed again", modelled, with(up(), noVolume(Pull, errPull, 2)),
			`a ImagePullBackOff: Back-off pulling image "model:v1": no luck; event Back-off pulling image "model:v1"`},
		{"a mount that failed", modelled, with(with(up(), pulled), noVolume(MountImage, "FailedMount", 1)), "a FailedMount: no luck"},
		{"those that do not mount it wait as ever", halfOf, with(up(), noVolume(Pull, errPull, 1)), "a ErrImagePull: no luck; b ContainerCreating: "},
		{"those that wait for others say that", earlyOf, with(up(), noVolume(Pull, errPull, 1)), "i ErrImagePull: no luck; a PodInitializing: "},
		{"a failure of before it was mounted is no matter", modelled, with(with(up(), noVolume(Pull, errPull, 1)), shown), "a ContainerCreating: "},
	} {
		next := Decide(parse(t, row.want), row.seen, now)
		var said []string
		for _, c := range append(next.Status.InitContainerStatuses, next.Status.ContainerStatuses...) {
			said = append(said, fmt.Sprintf("%s %s: %s", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message))
		}
		for _, e := range next.Events {
			said = append(said, "event "+e.Message)
		}
		if got := strings.Join(said, "; "); got != row.says {
			t.Errorf("%s: got %q, want %q", row.name, got, row.says)
		}
	}
}
