package pod

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func TestAPodThatIsEvictedEndsAndHasFailed(t *testing.T) {
	p, seen := parse(t, one), up(a("a", 0, runtime.Running))
	p.Status.Conditions = []corev1.PodCondition{{Type: "theirs", Status: corev1.ConditionTrue}}
	seen.Eviction = &Eviction{Reason: Evicted, Message: "The node was low on resource: memory. ", Grace: time.Second}

	n := Decide(p, seen, now)
	if say(n) != "withdraw" || n.Status.Phase != corev1.PodRunning || n.Status.Reason != Evicted {
		t.Errorf("at first: %s, %s, %s", say(n), n.Status.Phase, n.Status.Reason)
	}
	p.Status = n.Status // what follows is by another process, which knows of it from the status alone
	seen.Eviction = nil
	seen.Withdraw = Withdrawal{true, now.Add(-time.Second)}
	if n = Decide(p, seen, now); say(n) != "signal a#0 stop" {
		t.Errorf("then: %s", say(n))
	}
	seen = up(a("a", 0, runtime.Exited, code(143)))
	if n = Decide(p, seen, now); n.Status.Phase != corev1.PodFailed || len(n.Steps) > 0 {
		t.Errorf("when it has ended: %s, %s", say(n), n.Status.Phase)
	}
	p.Status = n.Status
	if n = Decide(p, seen, now.Add(time.Hour)); say(n) != "detach, no-sandbox, no-volumes" {
		t.Errorf("in the end: %s", say(n))
	}
	var got []string
	for _, c := range n.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			got = append(got, string(c.Type)+" "+c.Reason+" "+c.Message)
		}
	}
	want := []string{"Initialized  ", "DisruptionTarget TerminationByKubelet The node was low on resource: memory. ", "theirs  "}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if end := n.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 143 {
		t.Errorf("its container: %+v", n.Status.ContainerStatuses[0].State)
	}
}

func TestTheGraceOfAnEvictionBoundsThatOfThePod(t *testing.T) {
	p, seen := parse(t, one), up(a("a", 0, runtime.Running))
	seen.Eviction = &Eviction{Reason: Evicted, Grace: time.Second}
	seen.Withdraw = Withdrawal{true, now.Add(-time.Minute)}
	seen.Stops = map[runtime.ID]Stop{{Pod: "u", Name: "a"}: {Asked: now.Add(-2 * time.Second)}}
	if n := Decide(p, seen, now); say(n) != "signal a#0 KILLED" {
		t.Error(say(n))
	}
}

func TestAPodThatRestsIsStartedAgainByTheNextProcess(t *testing.T) {
	p, seen := parse(t, one), up(a("a", 0, runtime.Exited, code(143)))
	seen.Eviction = &Eviction{Grace: time.Second}
	n := Decide(p, seen, now)
	if say(n) != "" || n.Status.Phase != corev1.PodRunning || n.Status.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("while it rests: %s, %s", say(n), show(n))
	}
	p.Status, seen.Eviction = n.Status, nil
	if n = Decide(p, seen, now); say(n) != "pull a#1" {
		t.Errorf("then: %s", say(n))
	}
}

func show(n Next) string {
	return string(n.Status.Phase) + " " + n.Status.ContainerStatuses[0].State.String()
}
