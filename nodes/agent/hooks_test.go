package agent

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const slowStart = `{containers: [{name: a, lifecycle: {postStart: {exec: {command: [/prog, sleep, 2s]}}}}, {name: b}]}`

func TestAPostStartHookHoldsItsContainerAndThoseAfterIt(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", slowStart)
		n.expect(time.Second, "web", "Pending a=ContainerCreating b=ContainerCreating")
		n.expect(2*time.Second, "web", "Running ready a=running b=running")
	})
}

func TestANewAgentRunsAHookAgainThatItDoesNotKnowToBeDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		made := n.calls()
		_, stop := n.run()
		n.pod("web", slowStart)
		n.expect(time.Second, "web", "Pending a=ContainerCreating b=ContainerCreating")
		stop()
		_, stop = n.run()
		n.expect(3*time.Second, "web", "Running ready a=running b=running")
		stop()
		_, stop = n.run()
		defer stop()
		n.expect(3*time.Second, "web", "Running ready a=running b=running")
		if made["Exec"] != 2 || made["Start"] != 2 {
			t.Errorf("asked of the runtime: %v", made)
		}
		if e := n.events("web"); strings.Contains(e, "Failed") {
			t.Errorf("told:\n%s", e)
		}
	})
}

func TestAContainerWhosePostStartHookFailsIsStartedAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, lifecycle: {postStart: {exec: {command: [/prog, eprint, why, exit, "3"]}}}}]}`)
		n.expect(5*time.Second, "web", "Running a=CrashLoopBackOff/1")
		if e := n.events("web"); !strings.Contains(e, `FailedPostStartHook 2x: PostStartHook failed: command "/prog eprint why exit 3" failed: why`) {
			t.Errorf("told:\n%s", e)
		}
	})
}

func TestAPreStopHookComesBeforeTheSignalAndWithinTheGracePeriod(t *testing.T) {
	for _, row := range []struct {
		name, hook string
		there      time.Duration // after the delete
	}{
		{"one that is quick", `{sleep: {seconds: 5}}`, 5 * time.Second},
		{"one that takes too long", `{sleep: {seconds: 100}}`, 20 * time.Second},
		{"one that fails", `{exec: {command: [/prog, exit, "1"]}}`, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			story(t, func(n *node, _ *Agent) {
				n.pod("web", `{containers: [{name: a, lifecycle: {preStop: `+row.hook+`}}]}`)
				n.expect(soon, "web", "Running ready a=running")
				n.delete("web", 20)
				if row.there > 0 {
					n.expect(row.there-soon/2, "web", "Running ready a=running")
				}
				n.expect(2*soon, "web", "gone")
				if e := n.events("web"); strings.Contains(e, "FailedPreStopHook") != (row.there == 0) {
					t.Errorf("told:\n%s", e)
				}
			})
		})
	}
}

func TestSidecarsOutliveTheWorkAndNoLonger(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{restartPolicy: Never, initContainers: [{name: s, restartPolicy: Always}, {name: t, restartPolicy: Always}], containers: [{name: a, args: [sleep, 5s]}]}`)
		n.expect(soon, "web", "Running ready s=running t=running a=running")
		n.fake.Exit(id("web", "s", 0), 1)
		n.expect(soon, "web", "Running ready s=running/1 t=running a=running")
		n.expect(5*time.Second, "web", "Succeeded s=Error(143)/1 t=Error(143) a=Completed(0)")
	})
}

func TestAPodEndsAtItsDeadline(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{activeDeadlineSeconds: 10, containers: [{name: a}]}`)
		n.expect(9*time.Second, "web", "Running ready a=running")
		n.expect(5*time.Second, "web", "Failed a=Error(143)")
		if s := n.get("web").Status; s.Reason != "DeadlineExceeded" {
			t.Errorf("its reason is %q", s.Reason)
		}
		if e := n.events("web"); !strings.Contains(e, "DeadlineExceeded 1x: Pod was active on the node longer than the specified deadline") {
			t.Errorf("told:\n%s", e)
		}
	})
}

func TestAContainerIsAddedToAPodThatRuns(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		if _, err := n.store.Update(context.Background(), "test", func(tx *store.Tx) error {
			p, _ := store.Get[*corev1.Pod](tx.Snapshot, "hello", "web")
			p = p.DeepCopy()
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{TargetContainerName: "a", EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "look", Image: runtimetest.ImageName, Args: []string{"sleep", "3s", "exit", "2"},
			}}}
			return tx.Update(p)
		}); err != nil {
			t.Fatal(err)
		}
		n.expect(soon, "web", "Running ready a=running")
		s := n.get("web").Status.EphemeralContainerStatuses
		if len(s) != 1 || s[0].State.Running == nil {
			t.Fatalf("its status is %+v", s)
		}
		n.expect(5*time.Second, "web", "Running ready a=running")
		if s := n.get("web").Status.EphemeralContainerStatuses[0]; s.State.Terminated == nil || s.State.Terminated.ExitCode != 2 || s.RestartCount != 0 {
			t.Errorf("its status is %+v", s)
		}
	})
}

func TestWhatIsLeftOutIsTold(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "c"}, Data: map[string]string{"good": "1", "any-thing.goes": "2", "not=this": "3"}})
		n.pod("web", `{dnsConfig: {nameservers: [1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4]}, containers: [{name: a, envFrom: [{configMapRef: {name: c}}], args: [env, any-thing.goes, wait]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		e := n.events("web")
		for _, want := range []string{
			"InvalidEnvironmentVariableNames 1x: Keys [not=this] from the EnvFrom configMap hello/c were skipped",
			"DNSConfigForming 1x: Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3",
		} {
			if !strings.Contains(e, want) {
				t.Errorf("%q is missing in:\n%s", want, e)
			}
		}
	})
}

func TestTheEndOfALogIsKept(t *testing.T) {
	var end tail
	for _, s := range []string{strings.Repeat("x", 10<<20), "short", strings.Repeat("y", lastBytes-1), "z"} {
		if n, err := end.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := strings.Repeat("y", lastBytes-1) + "z"; string(end) != want || cap(end) > 8*lastBytes {
		t.Errorf("%d bytes, room for %d: %.20s", len(end), cap(end), end)
	}
}
