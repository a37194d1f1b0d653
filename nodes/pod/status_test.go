package pod

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// sum is a status in one line.
func sum(s corev1.PodStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", s.Phase)
	for _, c := range s.Conditions {
		if c.Status == corev1.ConditionTrue {
			fmt.Fprintf(&b, " %s", c.Type)
		}
	}
	for _, c := range append(s.InitContainerStatuses, s.ContainerStatuses...) {
		fmt.Fprintf(&b, "; %s", c.Name)
		switch {
		case c.State.Running != nil:
			b.WriteString(" running")
		case c.State.Terminated != nil:
			fmt.Fprintf(&b, " %s %d", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
		case c.State.Waiting != nil:
			fmt.Fprintf(&b, " %s", c.State.Waiting.Reason)
		}
		if c.RestartCount > 0 {
			fmt.Fprintf(&b, " restarts %d", c.RestartCount)
		}
		if end := c.LastTerminationState.Terminated; end != nil {
			fmt.Fprintf(&b, " before %s %d", end.Reason, end.ExitCode)
		}
	}
	return b.String()
}

func fails(op Op, container, reason string, count int) func(*Seen) {
	return func(s *Seen) {
		s.Failed = map[Move]Failure{{Op: op, Container: container}: {Count: count, At: now, Reason: reason, Message: "no luck"}}
	}
}

func TestTheStatusSaysWhatPeopleKnow(t *testing.T) {
	const (
		none = "PodReadyToStartContainers"
		all  = "PodReadyToStartContainers Initialized Ready ContainersReady"
		some = "PodReadyToStartContainers Initialized"
	)
	id := runtime.ID{Pod: "u", Name: "a"}
	ready := `{containers: [{name: a, readinessProbe: {tcpSocket: {port: 80}}}]}`
	gated := `{readinessGates: [{conditionType: example.com/open}], containers: [{name: a}]}`
	for _, row := range []struct {
		name string
		want *corev1.Pod
		seen Seen
		is   string
	}{
		{"a pod of which nothing is there", parse(t, one), Seen{}, "Pending Initialized; a ContainerCreating"},
		{"a pod that is being made", parse(t, one), up(), "Pending " + some + "; a ContainerCreating"},
		{"its containers run", parse(t, two), up(a("a", 0, runtime.Running), a("b", 0, runtime.Running)), "Running " + all + "; a running; b running"},
		{"one runs, and the other is still to come", parse(t, two), up(a("a", 0, runtime.Running)), "Pending " + some + "; a running; b ContainerCreating"},
		{"one has ended and is to start again at once", parse(t, one), up(a("a", 0, runtime.Exited, code(1))), "Running " + some + "; a Error 1"},
		{"one ends again and again", parse(t, one), up(a("a", 4, runtime.Exited, code(1), crashed("4"))),
			"Running " + some + "; a CrashLoopBackOff restarts 4 before Error 1"},
		{"one runs after it has ended", parse(t, one), up(a("a", 0, runtime.Exited, code(1)), a("a", 1, runtime.Running)),
			"Running " + all + "; a running restarts 1 before Error 1"},
		{"one was killed for want of memory", parse(t, never), up(a("a", 0, runtime.Exited, code(137), func(c *runtime.Container) { c.OOMKilled = true })),
			"Failed Initialized; a OOMKilled 137"},
		{"one could not be started", parse(t, never), up(a("a", 0, runtime.Exited, code(128), func(c *runtime.Container) { c.StartError = "no such file" })),
			"Failed Initialized; a StartError 128"},
		{"nobody knows how it ended", parse(t, never), up(a("a", 0, runtime.Unknown)), "Failed Initialized; a ContainerStatusUnknown 137"},
		{"all have succeeded", parse(t, never), up(a("a", 0, runtime.Exited)), "Succeeded Initialized; a Completed 0"},
		{"one of two has failed, the other runs", parse(t, `{restartPolicy: Never, containers: [{name: a}, {name: b}]}`),
			up(a("a", 0, runtime.Exited, code(1)), a("b", 0, runtime.Running)), "Running " + some + "; a Error 1; b running"},

		{"the first init container runs", parse(t, inits), up(a("i", 0, runtime.Running)), "Pending " + none + "; i running; j PodInitializing; a PodInitializing"},
		{"the second has its turn", parse(t, inits), up(a("i", 0, runtime.Exited)), "Pending " + none + "; i Completed 0; j ContainerCreating; a PodInitializing"},
		{"all have succeeded, and the others begin", parse(t, inits), up(a("i", 0, runtime.Exited), a("j", 0, runtime.Exited)),
			"Pending " + some + "; i Completed 0; j Completed 0; a ContainerCreating"},
		{"one fails for good", parse(t, `{restartPolicy: Never, initContainers: [{name: i}], containers: [{name: a}]}`), up(a("i", 0, runtime.Exited, code(3))),
			"Failed; i Error 3; a PodInitializing"},

		{"an image cannot be pulled", parse(t, one), with(up(), fails(Pull, "a", errPull, 1)), "Pending " + some + "; a ErrImagePull"},
		{"again", parse(t, one), with(up(), fails(Pull, "a", errPull, 2)), "Pending " + some + "; a ImagePullBackOff"},
		{"an image may not be pulled", parse(t, one), with(up(), fails(Pull, "a", "ErrImageNeverPull", 5)), "Pending " + some + "; a ErrImageNeverPull"},
		{"a container cannot be made", parse(t, one), with(up(), fails(Create, "a", "CreateContainerError", 1)), "Pending " + some + "; a CreateContainerError"},
		{"a volume is missing", parse(t, one), with(up(), fails(MakeVolumes, "", "FailedMount", 1)), "Pending " + some + "; a ContainerCreating"},
		{"it asks for what is not supported", parse(t, `{hostUsers: false, containers: [{name: a}]}`), Seen{}, "Pending Initialized; a CreateContainerConfigError"},

		{"it was not found ready yet", parse(t, ready), up(a("a", 0, runtime.Running)), "Running " + some + "; a running"},
		{"it was found ready", parse(t, ready), with(up(a("a", 0, runtime.Running)), func(s *Seen) { s.Checks = map[CheckKey]bool{{id, Readiness}: true} }),
			"Running " + all + "; a running"},
		{"its readiness gate is closed", parse(t, gated), up(a("a", 0, runtime.Running)), "Running " + some + " ContainersReady; a running"},

		{"it ends, and still does its work", deleted(parse(t, one), 30), up(a("a", 0, runtime.Running)), "Running " + all + "; a running"},
		{"it has ended well", deleted(parse(t, one), 30), up(a("a", 0, runtime.Exited)), "Succeeded Initialized; a Completed 0"},
		{"it has ended otherwise", deleted(parse(t, one), 30), up(a("a", 0, runtime.Exited, code(143))), "Failed Initialized; a Error 143"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := sum(Decide(row.want, row.seen, now).Status); got != row.is {
				t.Errorf("the status is\n%q, want\n%q", got, row.is)
			}
		})
	}
}

func TestConditionsOfOthersStay(t *testing.T) {
	p := parse(t, `{readinessGates: [{conditionType: example.com/open}], containers: [{name: a}]}`)
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: "example.com/open", Status: corev1.ConditionTrue},
	}
	got := sum(Decide(p, up(a("a", 0, runtime.Running)), now).Status)
	if want := "Running PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled example.com/open; a running"; got != want {
		t.Errorf("the status is %q, want %q", got, want)
	}
}

func TestAConditionKeepsItsTimeWhileItStaysTheSame(t *testing.T) {
	p := parse(t, one)
	p.Status = Decide(p, up(), now).Status
	later := Decide(p, up(a("a", 0, runtime.Running)), now.Add(time.Minute)).Status
	for i, c := range later.Conditions {
		want := now
		if p.Status.Conditions[i].Status != c.Status {
			want = now.Add(time.Minute)
		}
		if !c.LastTransitionTime.Time.Equal(want) {
			t.Errorf("%s has the time %s, want %s", c.Type, c.LastTransitionTime, want)
		}
	}
}

func TestOfAPodThatBeginsToWaitPeopleAreToldOnce(t *testing.T) {
	p, seen := parse(t, one), up(a("a", 1, runtime.Exited, code(1), crashed("1")))
	n := Decide(p, seen, now)
	if len(n.Events) != 1 || n.Events[0].Reason != "BackOff" {
		t.Fatalf("told: %+v", n.Events)
	}
	seen.Status = &n.Status
	if n = Decide(p, seen, now.Add(time.Second)); len(n.Events) > 0 {
		t.Errorf("told again: %+v", n.Events)
	}
}

func TestChecksFollowTheContainer(t *testing.T) {
	spec := `{containers: [{name: a, ports: [{name: web, containerPort: 8080}],
	  startupProbe: {httpGet: {port: web}}, readinessProbe: {tcpSocket: {port: 9, host: 192.0.2.9}}, livenessProbe: {exec: {command: [x]}}}]}`
	id := runtime.ID{Pod: "u", Name: "a"}
	for _, row := range []struct {
		name   string
		edit   func(p *corev1.Pod, s *Seen)
		checks string
	}{
		{"at first only whether it has started", func(*corev1.Pod, *Seen) {}, "Startup 10.1.0.2:8080 false"},
		{"then the others", func(_ *corev1.Pod, s *Seen) { s.Checks = map[CheckKey]bool{{id, Startup}: true} }, "Readiness 192.0.2.9:9 false, Liveness 10.1.0.2:0 true"},
		{"when the pod ends only whether it still does its work", func(p *corev1.Pod, s *Seen) {
			s.Checks = map[CheckKey]bool{{id, Startup}: true}
			deleted(p, 30)
		}, "Readiness 192.0.2.9:9 false"},
		{"without an address none", func(_ *corev1.Pod, s *Seen) { s.Network = Unknown }, ""},
		{"when it has ended none", func(_ *corev1.Pod, s *Seen) { s.Sandbox.Containers[0].State = runtime.Exited }, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, seen := parse(t, spec), up(a("a", 0, runtime.Running))
			row.edit(p, &seen)
			var got []string
			for _, c := range Decide(p, seen, now).Checks {
				got = append(got, fmt.Sprintf("%s %s:%d %v", c.Kind, c.Host, c.Port, c.Passed))
			}
			if strings.Join(got, ", ") != row.checks {
				t.Errorf("checks are %q, want %q", got, row.checks)
			}
		})
	}
}
