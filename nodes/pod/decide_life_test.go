package pod

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// run is the name of the first run of a container.
func run(name string) runtime.ID { return runtime.ID{Pod: "u", Name: name} }

func hooks(of string, k HookKind, h Hook) func(*Seen) {
	return func(s *Seen) {
		if s.Hooks == nil {
			s.Hooks = map[HookKey]Hook{}
		}
		s.Hooks[HookKey{run(of), k}] = h
	}
}

func stops(of string, began, asked time.Duration) func(*Seen) {
	return func(s *Seen) {
		if s.Stops == nil {
			s.Stops = map[runtime.ID]Stop{}
		}
		stop := Stop{Began: now.Add(-began)}
		if asked >= 0 {
			stop.Asked = now.Add(-asked)
		}
		s.Stops[run(of)] = stop
	}
}

func withdrawn(s *Seen) { s.Withdraw = Withdrawal{true, now.Add(-time.Second)} }

func all(s Seen, edits ...func(*Seen)) Seen {
	for _, e := range edits {
		e(&s)
	}
	return s
}

// since is a pod that was begun a while ago.
func since(p *corev1.Pod, d time.Duration) *corev1.Pod {
	at := metav1.NewTime(now.Add(-d))
	p.Status.StartTime = &at
	return p
}

const (
	greets = `{containers: [{name: a, lifecycle: {postStart: {exec: {command: [x]}}}}, {name: b}]}`
	parts  = `{containers: [{name: a, lifecycle: {preStop: {sleep: {seconds: 5}}}}]}`
	cars   = `{initContainers: [{name: s, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}}, {name: i}, {name: t, restartPolicy: Always}], containers: [{name: a}]}`
	job    = `{restartPolicy: Never, initContainers: [{name: s, restartPolicy: Always}, {name: t, restartPolicy: Always}], containers: [{name: a}]}`
	timed  = `{activeDeadlineSeconds: 60, containers: [{name: a}]}`
	rules  = `{restartPolicy: Never, containers: [{name: a, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [3, 4]}}]}]}`
	debug  = `{ephemeralContainers: [{name: e, image: img, targetContainerName: a}], containers: [{name: a}]}`
)

func TestDecideLeadsThroughAPodsLife(t *testing.T) {
	started := func(s *Seen) { s.Checks = map[CheckKey]bool{{run("s"), Startup}: true} }
	for _, row := range []struct {
		name string
		want *corev1.Pod
		seen Seen
		next string
	}{
		{"when a container has started its hook is run, and the next one waits for that", parse(t, greets),
			all(up(a("a", 0, runtime.Running)), image("b", 0)), "hook a#0 PostStart"},
		{"also for its start", parse(t, greets), all(up(), image("b", 0), func(s *Seen) { s.Images["a"] = Image{Pulling: true} }), ""},
		{"but not if it cannot be started", parse(t, greets), all(up(), image("b", 0), fails(Pull, "a", errPull, 1)), "create b#0, start b#0, after 10s"},
		{"it goes on waiting", parse(t, greets), all(up(a("a", 0, runtime.Running)), image("b", 0), hooks("a", PostStart, Hook{})), ""},
		{"until the hook is done", parse(t, greets), all(up(a("a", 0, runtime.Running)), image("b", 0), hooks("a", PostStart, Hook{Done: true})),
			"create b#0, start b#0"},
		{"a container whose hook has failed is ended", parse(t, greets),
			all(up(a("a", 0, runtime.Running), a("b", 0, runtime.Running)), hooks("a", PostStart, Hook{Done: true, Failed: true})), "signal a#0 stop"},
		{"before the signal comes the hook, once nobody is led there", deleted(parse(t, parts), 30), all(up(a("a", 0, runtime.Running)), withdrawn),
			"hook a#0 PreStop"},
		{"but first the address goes", deleted(parse(t, parts), 30), up(a("a", 0, runtime.Running)), "withdraw"},
		{"the hook has time as long as the grace period lasts", deleted(parse(t, parts), 30),
			all(up(a("a", 0, runtime.Running)), withdrawn, stops("a", 4*time.Second, -1), hooks("a", PreStop, Hook{})), "after 26s"},
		{"then comes the signal", deleted(parse(t, parts), 30),
			all(up(a("a", 0, runtime.Running)), withdrawn, stops("a", 5*time.Second, -1), hooks("a", PreStop, Hook{Done: true})), "signal a#0 stop"},
		{"also if the hook failed", deleted(parse(t, parts), 30),
			all(up(a("a", 0, runtime.Running)), withdrawn, stops("a", 5*time.Second, -1), hooks("a", PreStop, Hook{Done: true, Failed: true})), "signal a#0 stop"},
		{"and when the time is over, whether it is done or not", deleted(parse(t, parts), 30),
			all(up(a("a", 0, runtime.Running)), withdrawn, stops("a", 30*time.Second, -1), hooks("a", PreStop, Hook{})), "signal a#0 stop"},
		{"what the hook took is not given again", deleted(parse(t, parts), 30),
			all(up(a("a", 0, runtime.Running)), withdrawn, stops("a", 5*time.Second, 0), hooks("a", PreStop, Hook{Done: true})), "after 25s"},
		{"but two seconds always", deleted(parse(t, parts), 30),
			all(up(a("a", 0, runtime.Running)), withdrawn, stops("a", 30*time.Second, 0), hooks("a", PreStop, Hook{})), "after 2s"},
		{"without grace there is no hook", deleted(parse(t, parts), 0), up(a("a", 0, runtime.Running)), "signal a#0 KILLED"},
		{"a new process that finds the end begun begins it anew", deleted(parse(t, parts), 30), all(up(a("a", 0, runtime.Running)), withdrawn), "hook a#0 PreStop"},

		{"a sidecar starts first", parse(t, cars), all(up(), image("s", 0), image("i", 0)), "create s#0, start s#0"},
		{"the next one waits until it has started", parse(t, cars), all(up(a("s", 0, runtime.Running)), image("i", 0)), ""},
		{"then follows, beside it", parse(t, cars), all(up(a("s", 0, runtime.Running)), image("i", 0), started), "create i#0, start i#0"},
		{"a sidecar without a startup probe has started when it runs", parse(t, cars),
			all(up(a("s", 0, runtime.Running), a("i", 0, runtime.Exited), a("t", 0, runtime.Running)), image("a", 0), started), "create a#0, start a#0"},
		{"one that ends is started again, also while others still have their turn", parse(t, cars),
			all(up(a("s", 0, runtime.Exited), a("i", 0, runtime.Running)), image("s", 1)), "create s#1, start s#1"},
		{"whatever the pod's policy is", parse(t, job),
			all(up(a("s", 0, runtime.Running), a("t", 0, runtime.Exited, code(1)), a("a", 0, runtime.Running)), image("t", 1)), "create t#1, start t#1"},
		{"when the others have ended the last one is ended first", parse(t, job),
			all(up(a("s", 0, runtime.Running), a("t", 0, runtime.Running), a("a", 0, runtime.Exited)), withdrawn), "signal t#0 stop"},
		{"then the one before", parse(t, job),
			all(up(a("s", 0, runtime.Running), a("t", 0, runtime.Exited), a("a", 0, runtime.Exited)), withdrawn), "signal s#0 stop"},
		{"the same when the pod is deleted", deleted(parse(t, job), 30),
			all(up(a("s", 0, runtime.Running), a("t", 0, runtime.Running), a("a", 0, runtime.Running)), withdrawn), "signal a#0 stop"},
		{"together they have one grace period", deleted(parse(t, job), 30),
			all(up(a("s", 0, runtime.Running), a("t", 0, runtime.Running), a("a", 0, runtime.Running)), withdrawn, stops("a", 10*time.Second, 10*time.Second)), "after 20s"},
		{"after which the sidecars are told to end as well", deleted(parse(t, job), 30),
			all(up(a("s", 0, runtime.Running), a("t", 0, runtime.Running), a("a", 0, runtime.Running)), withdrawn, stops("a", 30*time.Second, 30*time.Second)),
			"signal a#0 KILLED, signal t#0 stop, signal s#0 stop"},
		{"an init container that fails for good ends the sidecars", parse(t, `{restartPolicy: Never, initContainers: [{name: s, restartPolicy: Always}, {name: i}], containers: [{name: a}]}`),
			all(up(a("s", 0, runtime.Running), a("i", 0, runtime.Exited, code(1))), withdrawn), "signal s#0 stop"},

		{"a pod whose time is not up is looked at when it is", since(parse(t, timed), 50*time.Second), up(a("a", 0, runtime.Running)), "after 10s"},
		{"one whose time is up ends: first nobody is led to it", since(parse(t, timed), time.Minute), up(a("a", 0, runtime.Running)), "withdraw"},
		{"then its containers are told to end", since(parse(t, timed), time.Minute), all(up(a("a", 0, runtime.Running)), withdrawn), "signal a#0 stop"},
		{"and are not started again", since(parse(t, timed), time.Minute), up(a("a", 0, runtime.Exited)), ""},

		{"a rule has a container started again although the policy says never", parse(t, rules), up(a("a", 0, runtime.Exited, code(3))), "pull a#1"},
		{"other ends do not", parse(t, rules), up(a("a", 0, runtime.Exited, code(5))), ""},
		{"a container's own policy counts before the pod's", parse(t, `{containers: [{name: a, restartPolicy: OnFailure}, {name: b}]}`),
			up(a("a", 0, runtime.Exited), a("b", 0, runtime.Running)), ""},

		{"a container that was added runs beside the others", parse(t, debug), all(up(a("a", 0, runtime.Running)), image("e", 0)), "create e#0, start e#0"},
		{"not before there is something to be beside of", parse(t, debug), all(up(), image("e", 0), image("a", 0), func(s *Seen) { s.Sandbox = nil }), "sandbox, attach"},
		{"it is not started again", parse(t, debug), up(a("a", 0, runtime.Running), a("e", 0, runtime.Exited, code(1))), ""},
		{"it ends with the pod", deleted(parse(t, debug), 30), all(up(a("a", 0, runtime.Running), a("e", 0, runtime.Running)), withdrawn), "signal a#0 stop, signal e#0 stop"},
		{"it holds no pod", parse(t, strings.Replace(debug, "{", "{restartPolicy: Never, ", 1)),
			all(up(a("a", 0, runtime.Exited), a("e", 0, runtime.Running)), withdrawn), "signal e#0 stop"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := say(Decide(row.want, row.seen, now)); got != row.next {
				t.Errorf("next is %q, want %q", got, row.next)
			}
		})
	}
}

func TestTheStatusFollowsAPodsLife(t *testing.T) {
	const (
		none = "PodReadyToStartContainers"
		some = none + " Initialized"
		full = none + " Initialized Ready ContainersReady"
	)
	ready := `{initContainers: [{name: s, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 1}}}], containers: [{name: a}]}`
	for _, row := range []struct {
		name string
		want *corev1.Pod
		seen Seen
		is   string
	}{
		{"until its hook is done a container does not count as running", parse(t, greets), all(up(a("a", 0, runtime.Running)), hooks("a", PostStart, Hook{})),
			"Pending " + some + "; a ContainerCreating; b ContainerCreating"},
		{"then it does", parse(t, greets), all(up(a("a", 0, runtime.Running), a("b", 0, runtime.Running)), hooks("a", PostStart, Hook{Done: true})),
			"Running " + full + "; a running; b running"},
		{"a sidecar that has not started holds the pod", parse(t, cars), up(a("s", 0, runtime.Running)),
			"Pending " + none + "; s running; i PodInitializing; t PodInitializing; a PodInitializing"},
		{"one that is not ready keeps it from being ready", parse(t, ready), up(a("s", 0, runtime.Running), a("a", 0, runtime.Running)),
			"Running " + some + "; s running; a running"},
		{"sidecars keep no pod from succeeding, but while they end it is not over", parse(t, job),
			up(a("s", 0, runtime.Running), a("t", 0, runtime.Running), a("a", 0, runtime.Exited)), "Running " + some + "; s running; t running; a Completed 0"},
		{"how they end does not count", parse(t, job),
			up(a("s", 0, runtime.Exited, code(143)), a("t", 0, runtime.Exited, code(137)), a("a", 0, runtime.Exited)),
			"Succeeded Initialized; s Error 143; t Error 137; a Completed 0"},
		{"a pod whose time is up is ready no more", since(parse(t, timed), time.Minute), up(a("a", 0, runtime.Running)), "Running " + some + "; a running"},
		{"and fails when nothing runs any more", since(parse(t, timed), time.Minute), up(a("a", 0, runtime.Exited)), "Failed Initialized; a Completed 0"},
		{"also if it never ran", since(parse(t, timed), time.Minute), up(), "Failed Initialized; a ContainerCreating"},
		{"a container that was added has no part in it", parse(t, debug), up(a("a", 0, runtime.Running), a("e", 0, runtime.Exited, code(1))), "Running " + full + "; a running"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := sum(Decide(row.want, row.seen, now).Status); got != row.is {
				t.Errorf("the status is\n%q, want\n%q", got, row.is)
			}
		})
	}
}

func TestAPodWhoseTimeIsUpSaysSoOnce(t *testing.T) {
	p, seen := since(parse(t, timed), time.Minute), up(a("a", 0, runtime.Exited))
	n := Decide(p, seen, now)
	if n.Status.Reason != "DeadlineExceeded" || len(n.Events) != 1 || n.Events[0].Reason != "DeadlineExceeded" {
		t.Fatalf("reason %q, events %v", n.Status.Reason, n.Events)
	}
	seen.Status = &n.Status
	if n = Decide(p, seen, now); len(n.Events) > 0 || n.Status.Reason != "DeadlineExceeded" {
		t.Errorf("then: reason %q, events %v", n.Status.Reason, n.Events)
	}
}

func TestAHookThatTheStatusSaysIsDoneIsNotRunAgain(t *testing.T) {
	p, seen := parse(t, greets), all(up(a("a", 0, runtime.Running), a("b", 0, runtime.Running)), hooks("a", PostStart, Hook{Done: true}))
	p.Status = Decide(p, seen, now).Status
	seen.Hooks = nil
	if got := say(Decide(p, seen, now)); got != "" {
		t.Errorf("a new process does %q", got)
	}
}

func TestAContainerThatWasAddedHasItsStatus(t *testing.T) {
	p := parse(t, debug)
	s := Decide(p, up(a("a", 0, runtime.Running), a("e", 0, runtime.Exited, code(7))), now).Status
	if len(s.EphemeralContainerStatuses) != 1 || s.EphemeralContainerStatuses[0].State.Terminated.ExitCode != 7 {
		t.Fatalf("its status is %+v", s.EphemeralContainerStatuses)
	}
	p.Status = s
	if got := say(Decide(p, up(a("a", 0, runtime.Running)), now)); got != "" {
		t.Errorf("when its run was removed: %q", got)
	}
	if got := target(&p.Spec, "e"); got != "a" {
		t.Errorf("it sees the processes of %q", got)
	}
}

func TestStopSignalsHaveNumbers(t *testing.T) {
	for name, want := range map[string]syscall.Signal{
		"SIGUSR1": syscall.SIGUSR1, "SIGQUIT": syscall.SIGQUIT, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMAX-1": 63, "SIGRTMAX": 64,
	} {
		p := parse(t, fmt.Sprintf(`{containers: [{name: a, lifecycle: {stopSignal: %s}}]}`, name))
		if got := stopSignal(&p.Spec.Containers[0]); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}
