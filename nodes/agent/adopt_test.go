package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
)

// calls counts what is asked of the runtime.
func (n *node) calls() map[string]int {
	made := map[string]int{}
	n.fake.Fault = func(c runtimetest.Call) runtimetest.Fault {
		made[c.Verb]++
		return runtimetest.Fault{}
	}
	return made
}

func TestANewAgentTakesOverWhatRunsAndTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		_, stop := n.run()
		n.pod("web", `{containers: [{name: a, readinessProbe: {exec: {command: [/prog, exit, "0"]}}}, {name: b}]}`)
		n.expect(soon, "web", "Running ready a=running b=running")
		n.fake.Exit(id("web", "b", 0), 1)
		n.expect(soon, "web", "Running ready a=running b=running/1")
		stop()

		before, made := n.get("web"), n.calls()
		_, stop = n.run()
		defer stop()
		n.expect(time.Hour, "web", "Running ready a=running b=running/1")
		for verb, count := range made {
			if verb != "Exec" {
				t.Errorf("the new agent called %s %d times", verb, count)
			}
		}
		if made["Exec"] < 300 {
			t.Errorf("in an hour the probe was run %d times", made["Exec"])
		}
		if after := n.get("web"); after.ResourceVersion != before.ResourceVersion {
			t.Errorf("its status was written anew:\n%v\n%v", before.Status, after.Status)
		}
	})
}

func TestAPodStaysReadyWhileANewAgentHasNotProbedItYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		_, stop := n.run()
		n.pod("web", `{containers: [{name: a,
	  startupProbe: {exec: {command: [/prog, exit, "0"]}},
	  readinessProbe: {failureThreshold: 3, exec: {command: [/prog, exit, "0"]}}}]}`)
		n.expect(soon, "web", "Running ready a=running")
		stop()
		p := n.get("web").DeepCopy()
		p.Spec.Containers[0].ReadinessProbe.Exec.Command[2] = "1"
		p.Spec.Containers[0].StartupProbe.Exec.Command[2] = "1"
		n.put(p)
		_, stop = n.run()
		defer stop()
		n.expect(19*time.Second, "web", "Running ready a=running")
		n.expect(2*time.Second, "web", "Running a=running")
		n.expect(time.Hour, "web", "Running a=running") // what has started is not asked again whether it has
	})
}

func TestWhatEndedWhileNobodyWatchedIsToldOfAndStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		_, stop := n.run()
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		stop()
		n.fake.Exit(id("web", "a", 0), 7)
		_, stop = n.run()
		defer stop()
		n.expect(soon, "web", "Running ready a=running/1")
		if end := n.get("web").Status.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.ExitCode != 7 {
			t.Errorf("its last end is %v", end)
		}
	})
}

func TestAfterARebootEverythingRunsAgain(t *testing.T) {
	for _, row := range []struct{ name, spec, before, after string }{
		{"a service", `{containers: [{name: a}]}`, "Running ready a=running", "Running ready a=running/1"},
		{"with an init container, which runs again too", `{initContainers: [{name: i, args: [exit, "0"]}], containers: [{name: a}]}`,
			"Running ready i=Completed(0) a=running", "Running ready i=Completed(0)/1 a=running/1"},
		{"but not what may run only once", `{restartPolicy: Never, containers: [{name: a}]}`, "Running ready a=running", "Failed a=ContainerStatusUnknown(137)"},
		{"nor what was done", `{restartPolicy: Never, containers: [{name: a, args: [exit, "0"]}]}`, "Succeeded a=Completed(0)", "Succeeded a=Completed(0)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				_, stop := n.run()
				n.pod("web", row.spec)
				n.expect(soon, "web", row.before)
				stop()
				n.fake.Reboot()
				n.net = newNetwork()
				n.net.last = n.net.last.Next()
				_, stop = n.run()
				defer stop()
				n.expect(soon, "web", row.after)
			})
		})
	}
}

func TestAContainerWhoseShimWasKilledIsStartedAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.fake.Lose(id("web", "a", 0))
		n.expect(soon, "web", "Running ready a=running/1")
		if end := n.get("web").Status.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.Reason != "ContainerStatusUnknown" {
			n.t.Errorf("its last end is %v", end)
		}
	})
}

func TestWhatBelongsToNoPodIsRemovedOnceAllPodsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		if _, err := n.fake.MakeSandbox(t.Context(), runtime.SandboxSpec{Pod: "uid-old", Namespace: "hello", Name: "old"}); err != nil {
			t.Fatal(err)
		}
		if err := n.fake.Create(t.Context(), runtime.ContainerSpec{ID: id("old", "a", 3), Image: runtimetest.ImageName}); err != nil {
			t.Fatal(err)
		}
		if err := n.fake.Start(t.Context(), id("old", "a", 3)); err != nil {
			t.Fatal(err)
		}
		n.net.addresses["uid-lost"] = netip.MustParseAddr("10.1.0.9")
		if err := os.MkdirAll(filepath.Join(n.dir, "pods", "uid-files", "volumes", "x"), 0o755); err != nil {
			t.Fatal(err)
		}
		whole := make(chan struct{})
		n.config = func(c *Config) { c.Whole = whole }
		a, stop := n.run()
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if !strings.Contains(n.fake.String(), "a.3 "+runtimetest.ImageName+" running") {
			t.Errorf("removed before all pods were known:\n%s", n.fake)
		}
		close(whole)
		time.Sleep(time.Minute)
		synctest.Wait()
		files, _ := n.volumes.List()
		addresses, _ := n.net.Attached(t.Context())
		if n.fake.String() != "" || len(files) > 0 || len(addresses) > 0 || len(a.workers) > 0 {
			t.Errorf("left over: %s %v %v %v", n.fake, files, addresses, a.workers)
		}
	})
}

func TestAPodOfTheSameNameIsAnother(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.drop("web")
		p := parsePod(n.t, "web", `{containers: [{name: a}]}`)
		p.UID = types.UID("uid-other")
		n.put(p)
		n.expect(10*time.Second, "web", "Running ready a=running")
		if got := n.fake.String(); strings.Contains(got, "uid-web") || !strings.Contains(got, "uid-other") {
			n.t.Errorf("on the node is\n%s", got)
		}
	})
}

func TestADeletionGoesOnAfterARestartOfTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		_, stop := n.run()
		n.pod("web", `{containers: [{name: a, args: [stubborn, wait]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.delete("web", 10)
		n.expect(soon, "web", "Running ready a=running")
		stop()
		_, stop = n.run()
		defer stop()
		n.expect(12*time.Second, "web", "gone")
	})
}
