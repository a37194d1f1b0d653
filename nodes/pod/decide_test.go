package pod

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

var (
	now  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	addr = netip.MustParseAddr("10.1.0.2")
)

func parse(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(`{metadata: {name: web, namespace: hello, uid: u}, spec: `+spec+`}`), p); err != nil {
		t.Fatalf("%v in %s", err, spec)
	}
	for _, cs := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range cs {
			if cs[i].Image == "" {
				cs[i].Image = "img"
			}
		}
	}
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	return p
}

// a run of a container.
func a(name string, attempt int, state runtime.State, edit ...func(*runtime.Container)) runtime.Container {
	c := runtime.Container{
		ID: runtime.ID{Pod: "u", Name: name, Attempt: attempt}, State: state, Image: "img", ImageID: "sha256:1",
		Started: now.Add(-time.Minute), Labels: map[string]string{imageLabel: "img", crashesLabel: "0"},
	}
	if state == runtime.Exited {
		c.Finished = now
	}
	for _, e := range edit {
		e(&c)
	}
	return c
}

func code(n int) func(*runtime.Container) { return func(c *runtime.Container) { c.ExitCode = n } }

func crashed(n string) func(*runtime.Container) {
	return func(c *runtime.Container) { c.Labels[crashesLabel] = n }
}

func ranFor(d time.Duration) func(*runtime.Container) {
	return func(c *runtime.Container) { c.Started = now.Add(-d) }
}

// up is what is seen of a pod that has all but containers.
func up(cs ...runtime.Container) Seen {
	return Seen{
		Sandbox: &runtime.Sandbox{Pod: "u", Ready: true, NetNS: "/net", Containers: cs},
		Network: Here, Address: addr, Volumes: Here, Images: map[string]Image{},
	}
}

func with(s Seen, edit func(*Seen)) Seen {
	edit(&s)
	return s
}

func image(container string, attempt int) func(*Seen) {
	return func(s *Seen) { s.Images[container] = Image{Attempt: attempt, Name: "img"} }
}

func deleted(p *corev1.Pod, grace int64) *corev1.Pod {
	at := metav1.NewTime(now.Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	return p
}

const (
	one     = `{containers: [{name: a}]}`
	two     = `{containers: [{name: a}, {name: b}]}`
	inits   = `{initContainers: [{name: i}, {name: j}], containers: [{name: a}]}`
	never   = `{restartPolicy: Never, containers: [{name: a}]}`
	failure = `{restartPolicy: OnFailure, containers: [{name: a}]}`
	live    = `{containers: [{name: a, livenessProbe: {terminationGracePeriodSeconds: 5, tcpSocket: {port: 80}}}]}`
)

func TestDecideSaysWhatIsNext(t *testing.T) {
	id := runtime.ID{Pod: "u", Name: "a"}
	for _, row := range []struct {
		name string
		want *corev1.Pod
		seen Seen
		next string // steps, then the time until the next decision
	}{
		{"a new pod gets its image, a sandbox, an address and volumes", parse(t, one), Seen{},
			"pull a#0, sandbox, attach, volumes"},
		{"containers are made and started in the order of the spec, none waits for another to be ready", parse(t, two),
			with(with(up(), image("a", 0)), image("b", 0)), "create a#0, start a#0, create b#0, start b#0"},
		{"a container waits for its image, and holds no other", parse(t, two),
			with(with(up(), image("b", 0)), func(s *Seen) { s.Images["a"] = Image{Pulling: true} }), "create b#0, start b#0"},
		{"nothing is created before the volumes are there", parse(t, one),
			with(with(up(), image("a", 0)), func(s *Seen) { s.Volumes = Unknown }), "volumes"},
		{"a container that was made is started", parse(t, one), up(a("a", 0, runtime.Created)), "start a#0"},
		{"a pod that runs needs nothing", parse(t, two), up(a("a", 0, runtime.Running), a("b", 0, runtime.Running)), ""},
		{"a new process asks again for the address and the volumes of what runs, and for nothing else", parse(t, one),
			Seen{Sandbox: up(a("a", 0, runtime.Running)).Sandbox}, "attach, volumes"},
		{"volumes are brought up to date when what they show has changed", parse(t, one),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) { s.Stale = true }), "volumes"},
		{"a sandbox that a reboot broke is made anew", parse(t, one),
			with(up(a("a", 0, runtime.Unknown)), func(s *Seen) { s.Sandbox.Ready = false }), "pull a#0, sandbox, attach"},

		{"the first time a container that ended starts again at once", parse(t, one),
			with(up(a("a", 0, runtime.Exited)), image("a", 1)), "create a#1, start a#1"},
		{"its image is asked for again first", parse(t, one), up(a("a", 0, runtime.Exited)), "pull a#1"},
		{"the second time it waits 10 s", parse(t, one), up(a("a", 1, runtime.Exited, crashed("1"))), "after 10s"},
		{"the third time it waits 20 s", parse(t, one), up(a("a", 1, runtime.Exited, crashed("2"))), "after 20s"},
		{"the tenth time it waits 5 min", parse(t, one), up(a("a", 1, runtime.Exited, crashed("9"))), "after 5m0s"},
		{"after 10 min of running it starts again at once", parse(t, one),
			up(a("a", 9, runtime.Exited, crashed("9"), ranFor(10*time.Minute))), "pull a#10"},
		{"under Never it does not start again", parse(t, never), up(a("a", 0, runtime.Exited, code(1))), ""},
		{"under OnFailure it starts again if it failed", parse(t, failure), up(a("a", 0, runtime.Exited, code(1))), "pull a#1"},
		{"under OnFailure it does not if it succeeded", parse(t, failure), up(a("a", 0, runtime.Exited)), ""},
		{"a run in an unclear state is not left behind before its end is written", parse(t, one), up(a("a", 0, runtime.Unknown)), ""},

		{"init containers run one after the other", parse(t, inits), with(up(a("i", 0, runtime.Exited)), image("j", 0)), "create j#0, start j#0"},
		{"the others wait for all of them", parse(t, inits), up(a("i", 0, runtime.Exited), a("j", 0, runtime.Running)), ""},
		{"then they start", parse(t, inits), with(up(a("i", 0, runtime.Exited), a("j", 0, runtime.Exited)), image("a", 0)), "create a#0, start a#0"},
		{"an init container that fails is tried again", parse(t, inits), up(a("i", 0, runtime.Exited, code(1))), "pull i#1"},

		{"what failed is not tried again at once", parse(t, one),
			with(up(), func(s *Seen) { s.Failed = map[Move]Failure{{Op: Pull, Container: "a"}: {Count: 1, At: now}} }), "after 10s"},
		{"but after a while", parse(t, one),
			with(up(), func(s *Seen) {
				s.Failed = map[Move]Failure{{Op: Pull, Container: "a"}: {Count: 1, At: now.Add(-10 * time.Second)}}
			}), "pull a#0"},
		{"without a sandbox there is no address", parse(t, one),
			Seen{Failed: map[Move]Failure{{Op: MakeSandbox}: {Count: 1, At: now}}, Images: map[string]Image{"a": {}}}, "after 500ms"},

		{"a container whose liveness probe failed for good is told to end", parse(t, live),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) { s.Checks = map[CheckKey]bool{{id, Liveness}: false} }), "signal a#0 stop"},
		{"and killed when the probe's own grace is over", parse(t, live),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) {
				s.Stops = map[runtime.ID]Stop{id: {Began: now.Add(-5 * time.Second), Asked: now.Add(-5 * time.Second), Grace: 5 * time.Second}}
			}), "signal a#0 KILLED"},
		{"and not before, though the probe is not run any more", parse(t, live),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) {
				s.Stops = map[runtime.ID]Stop{id: {Began: now.Add(-3 * time.Second), Asked: now.Add(-3 * time.Second), Grace: 5 * time.Second}}
			}), "after 2s"},
		{"a container whose image is to be another is told to end", parse(t, `{containers: [{name: a, image: new}]}`),
			up(a("a", 0, runtime.Running)), "signal a#0 stop"},

		{"before a pod ends its address is withdrawn", deleted(parse(t, one), 30), up(a("a", 0, runtime.Running)), "withdraw"},
		{"then packets under way get 100 ms", deleted(parse(t, one), 30),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) { s.Withdraw = Withdrawal{true, now} }), "after 100ms"},
		{"then its containers are told to end", deleted(parse(t, two), 30),
			with(up(a("a", 0, runtime.Running), a("b", 0, runtime.Running)), func(s *Seen) { s.Withdraw = Withdrawal{true, now.Add(-time.Second)} }),
			"signal a#0 stop, signal b#0 stop"},
		{"then they have the grace period", deleted(parse(t, one), 30),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) {
				s.Withdraw = Withdrawal{true, now.Add(-time.Second)}
				s.Stops = map[runtime.ID]Stop{id: {Asked: now.Add(-10 * time.Second)}}
			}), "after 20s"},
		{"then they are killed", deleted(parse(t, one), 30),
			with(up(a("a", 0, runtime.Running)), func(s *Seen) {
				s.Withdraw = Withdrawal{true, now.Add(-time.Minute)}
				s.Stops = map[runtime.ID]Stop{id: {Asked: now.Add(-30 * time.Second)}}
			}), "signal a#0 KILLED"},
		{"without grace they are killed at once", deleted(parse(t, one), 0), up(a("a", 0, runtime.Running)), "signal a#0 KILLED"},
		{"a pod on the host's network has no address of its own to withdraw", deleted(parse(t, `{hostNetwork: true, containers: [{name: a}]}`), 30),
			up(a("a", 0, runtime.Running)), "signal a#0 stop"},
		{"when nothing runs all is given back", deleted(parse(t, one), 30), up(a("a", 0, runtime.Exited)),
			"detach, no-sandbox, no-volumes, no-files"},
		{"a pod that is deleted before it began needs no sandbox", deleted(parse(t, one), 30), Seen{}, "detach, no-volumes, no-files"},
		{"when all is given back it is gone", deleted(parse(t, one), 30), Seen{Network: Gone, Volumes: Gone, Files: Gone}, "gone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := say(Decide(row.want, row.seen, now)); got != row.next {
				t.Errorf("next is %q, want %q", got, row.next)
			}
		})
	}
}

func say(n Next) string {
	var parts []string
	for _, s := range n.Steps {
		parts = append(parts, s.String())
	}
	if n.Gone {
		parts = append(parts, "gone")
	}
	if n.After > 0 {
		parts = append(parts, "after "+n.After.String())
	}
	return strings.Join(parts, ", ")
}

func TestAFinishedPodIsClearedAwayOnceItsEndIsWritten(t *testing.T) {
	p, seen := parse(t, never), up(a("a", 0, runtime.Exited, code(1)))
	n := Decide(p, seen, now)
	if n.Status.Phase != corev1.PodFailed || len(n.Steps) > 0 {
		t.Fatalf("at first: %s, %s", n.Status.Phase, say(n))
	}
	p.Status = n.Status
	if n = Decide(p, seen, now); say(n) != "detach, no-sandbox, no-volumes" {
		t.Errorf("once it is written: %s", say(n))
	}
	n = Decide(p, Seen{Network: Gone, Volumes: Gone}, now.Add(time.Hour))
	if say(n) != "" {
		t.Errorf("then: %s", say(n))
	}
	if d := cmp.Diff(p.Status, n.Status); d != "" {
		t.Errorf("its status changed:\n%s", d)
	}
}

func TestRunsThatEndedAreKeptUntilTheirEndIsWritten(t *testing.T) {
	p, seen := parse(t, one), up(a("a", 0, runtime.Exited, code(1)), a("a", 1, runtime.Running, crashed("1")))
	n := Decide(p, seen, now)
	if say(n) != "" {
		t.Fatalf("before: %s", say(n))
	}
	p.Status = n.Status
	if n = Decide(p, seen, now); say(n) != "remove a#0" {
		t.Errorf("after: %s", say(n))
	}
	n = Decide(p, up(a("a", 1, runtime.Running, crashed("1"))), now)
	if d := cmp.Diff(p.Status, n.Status); d != "" || say(n) != "" {
		t.Errorf("then %q, and its status changed:\n%s", say(n), d)
	}
}

func TestANewProcessGoesOnWithTheStatusThatIsStored(t *testing.T) {
	spec := `{containers: [{name: a, startupProbe: {tcpSocket: {port: 80}}, readinessProbe: {tcpSocket: {port: 80}}}]}`
	id := runtime.ID{Pod: "u", Name: "a", Attempt: 3}
	p, seen := parse(t, spec), up(a("a", 3, runtime.Running))
	seen.Checks = map[CheckKey]bool{{id, Startup}: true, {id, Readiness}: true}
	p.Status = Decide(p, seen, now).Status
	seen.Checks = nil
	n := Decide(p, seen, now.Add(time.Hour))
	if d := cmp.Diff(p.Status, n.Status); d != "" {
		t.Errorf("its status changed:\n%s", d)
	}
	if len(n.Checks) != 1 || n.Checks[0].Kind != Readiness || !n.Checks[0].Passed {
		t.Errorf("it checks %+v", n.Checks)
	}
}
