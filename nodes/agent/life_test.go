package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	goruntime "runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// story runs a test in a bubble, on a node whose agent runs.
func story(t *testing.T, tell func(n *node, a *Agent)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		a, stop := n.run()
		defer stop()
		tell(n, a)
	})
}

func TestAPodRunsAndEnds(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a}, {name: b}]}`)
		n.expect(0, "web", "Running ready a=running b=running")
		if ip := n.get("web").Status.PodIP; ip != "10.1.0.2" {
			t.Errorf("its address is %q", ip)
		}
		n.delete("web", 30)
		n.expect(soon, "web", "gone")
		if left := n.fake.String(); left != "" {
			t.Errorf("left over:\n%s", left)
		}
		if all, _ := n.volumes.List(); len(all) > 0 {
			t.Errorf("folders left over: %v", all)
		}
		if all, _ := n.net.Attached(t.Context()); len(all) > 0 {
			t.Errorf("addresses left over: %v", all)
		}
	})
}

func TestNothingIsLeftOfPodsThatGoAsSoonAsTheyCome(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		for i := range 100 {
			name := fmt.Sprint("web-", i)
			n.pod(name, `{containers: [{name: a, args: [print, hello, wait]}, {name: b}]}`)
			for range i % 7 {
				goruntime.Gosched()
			}
			n.delete(name, int64(i%2))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if files, _ := n.volumes.List(); len(files) > 0 || n.fake.String() != "" {
			t.Errorf("left over: %v %s", files, n.fake)
		}
	})
}

func TestOneWriteIsEnoughForAPodThatStartsQuickly(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(time.Minute, "web", "Running ready a=running")
		writes := 0
		for _, d := range n.backend.Deltas() {
			for _, c := range d.Changes {
				if p, ok := c.New.(*corev1.Pod); ok && p.Name == "web" && c.Old != nil {
					writes++
				}
			}
		}
		if writes != 1 {
			t.Errorf("its status was written %d times, want 1", writes)
		}
	})
}

func TestContainersThatEndAreStartedAgainLessAndLessOften(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, args: [exit, "3"]}]}`)
		n.expect(soon, "web", "Running a=CrashLoopBackOff/1") // the first time at once
		for restarts, wait := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			n.expect(wait*time.Second-3*soon, "web", strings.Replace("Running a=CrashLoopBackOff/N", "N", string(rune('1'+restarts)), 1))
			n.expect(3*soon, "web", strings.Replace("Running a=CrashLoopBackOff/N", "N", string(rune('2'+restarts)), 1))
		}
		s := n.get("web").Status.ContainerStatuses[0]
		if end := s.LastTerminationState.Terminated; end == nil || end.ExitCode != 3 || end.Reason != "Error" {
			t.Errorf("its last end is %v", end)
		}
		if !strings.Contains(n.events("web"), "Warning BackOff") {
			t.Errorf("no event tells of it:\n%s", n.events("web"))
		}
		if runs := strings.Count(n.fake.String(), "  a."); runs > 1 {
			t.Errorf("%d runs are kept, want 1", runs)
		}
	})
}

func TestBackOffBeginsAnewAfterTenMinutesOfRunning(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.fake.Exit(id("web", "a", 0), 1)
		n.expect(soon, "web", "Running ready a=running/1")
		n.fake.Exit(id("web", "a", 1), 1)
		n.expect(soon, "web", "Running a=CrashLoopBackOff/1")
		n.expect(10*time.Second, "web", "Running ready a=running/2")
		n.expect(10*time.Minute, "web", "Running ready a=running/2")
		n.fake.Exit(id("web", "a", 2), 1)
		n.expect(soon, "web", "Running ready a=running/3")
	})
}

func TestRestartPolicies(t *testing.T) {
	for _, row := range []struct{ name, spec, want string }{
		{"never, and it succeeds", `{restartPolicy: Never, containers: [{name: a, args: [exit, "0"]}]}`, "Succeeded a=Completed(0)"},
		{"never, and it fails", `{restartPolicy: Never, containers: [{name: a, args: [exit, "2"]}]}`, "Failed a=Error(2)"},
		{"never, and one of two fails", `{restartPolicy: Never, containers: [{name: a, args: [exit, "2"]}, {name: b, args: [exit, "0"]}]}`, "Failed a=Error(2) b=Completed(0)"},
		{"never, and one of two still runs", `{restartPolicy: Never, containers: [{name: a, args: [exit, "2"]}, {name: b}]}`, "Running a=Error(2) b=running"},
		{"on failure, and it succeeds", `{restartPolicy: OnFailure, containers: [{name: a, args: [exit, "0"]}]}`, "Succeeded a=Completed(0)"},
		{"on failure, and it fails", `{restartPolicy: OnFailure, containers: [{name: a, args: [exit, "2"]}]}`, "Running a=CrashLoopBackOff/1"},
		{"always, and it succeeds", `{containers: [{name: a, args: [exit, "0"]}]}`, "Running a=CrashLoopBackOff/1"},
		{"killed for lack of memory", `{restartPolicy: Never, containers: [{name: a, args: [hog], resources: {limits: {memory: 10Mi}}}]}`, "Failed a=OOMKilled(137)"},
		{"a program that is not there", `{restartPolicy: Never, containers: [{name: a, command: [/nope]}]}`, "Failed a=StartError(128)"},
		{"a program that is not there, again and again", `{containers: [{name: a, command: [/nope]}]}`, "Running a=CrashLoopBackOff/1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			story(t, func(n *node, _ *Agent) {
				n.pod("job", row.spec)
				n.expect(soon, "job", row.want)
				phase := n.get("job").Status.Phase
				if over := phase == corev1.PodSucceeded || phase == corev1.PodFailed; over != (n.fake.String() == "") {
					t.Errorf("finished: %v, but on the node is\n%s", over, n.fake)
				}
			})
		})
	}
}

func TestInitContainersRunInOrderBeforeTheOthers(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{initContainers: [{name: i, args: [sleep, 5s]}, {name: j, args: [sleep, 5s]}], containers: [{name: a}]}`)
		n.expect(soon, "web", "Pending i=running j=PodInitializing a=PodInitializing")
		n.expect(5*time.Second, "web", "Pending i=Completed(0) j=running a=PodInitializing")
		n.expect(5*time.Second, "web", "Running ready i=Completed(0) j=Completed(0) a=running")
		if strings.Contains(n.fake.String(), "i.0") {
			t.Errorf("an init container is kept that nothing needs:\n%s", n.fake)
		}
	})
}

func TestAnInitContainerThatFails(t *testing.T) {
	for _, row := range []struct{ name, policy, want string }{
		{"is tried again", "Always", "Pending i=CrashLoopBackOff/1 a=PodInitializing"},
		{"ends the pod if nothing may be tried again", "Never", "Failed i=Error(1) a=PodInitializing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			story(t, func(n *node, _ *Agent) {
				n.pod("web", `{restartPolicy: `+row.policy+`, initContainers: [{name: i, args: [exit, "1"]}], containers: [{name: a}]}`)
				n.expect(soon, "web", row.want)
			})
		})
	}
}

func TestReadinessFollowsTheProbe(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, readinessProbe: {periodSeconds: 5, failureThreshold: 1, exec: {command: [/prog, exit, "1"]}}}]}`)
		n.expect(soon, "web", "Running a=running")
		p := n.get("web").DeepCopy()
		p.Spec.Containers[0].ReadinessProbe.Exec.Command[2] = "0"
		n.put(p)
		n.expect(6*time.Second, "web", "Running ready a=running")
		p = n.get("web").DeepCopy()
		p.Spec.Containers[0].ReadinessProbe.Exec.Command[2] = "1"
		n.put(p)
		n.expect(6*time.Second, "web", "Running a=running")
		if !strings.Contains(n.events("web"), "Warning Unhealthy") {
			t.Errorf("no event tells of it:\n%s", n.events("web"))
		}
	})
}

func TestAContainerWhoseLivenessProbeFailsIsStartedAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, livenessProbe: {initialDelaySeconds: 4, periodSeconds: 5, failureThreshold: 3, exec: {command: [/prog, exit, "1"]}}}]}`)
		n.expect(13*time.Second, "web", "Running ready a=running")
		n.expect(2*time.Second, "web", "Running ready a=running/1")
		if !strings.Contains(n.events("web"), "Normal Killing 1x: Container a failed liveness probe, will be restarted") {
			t.Errorf("no event tells of it:\n%s", n.events("web"))
		}
	})
}

func TestAStubbornContainerWhoseLivenessProbeFailsIsKilledWhenItsGraceIsOver(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{terminationGracePeriodSeconds: 20, containers: [{name: a, args: [stubborn, wait],
	  livenessProbe: {initialDelaySeconds: 4, periodSeconds: 5, failureThreshold: 1, exec: {command: [/prog, exit, "1"]}}}]}`)
		n.expect(23*time.Second, "web", "Running ready a=running")
		n.expect(5*time.Second, "web", "Running ready a=running/1")
	})
}

func TestOtherProbesWaitForTheStartupProbe(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a,
	  startupProbe: {periodSeconds: 1, failureThreshold: 30, exec: {command: [/prog, exit, "1"]}},
	  livenessProbe: {periodSeconds: 1, failureThreshold: 1, exec: {command: [/prog, exit, "1"]}}}]}`)
		n.expect(20*time.Second, "web", "Running a=running")
		n.expect(15*time.Second, "web", "Running a=running/1")
	})
}

func TestAStubbornContainerIsKilledWhenItsGraceIsOver(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, args: [stubborn, wait]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.delete("web", 30)
		n.expect(29*time.Second, "web", "Running ready a=running")
		n.expect(2*time.Second, "web", "gone")
	})
}

func TestASecondDeletionMayShortenTheGrace(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, args: [stubborn, wait]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.delete("web", 300)
		n.expect(5*time.Second, "web", "Running ready a=running")
		n.delete("web", 2)
		n.expect(soon, "web", "gone")
	})
}

func TestAContainerIsToldToEndOnlyWhenNobodyIsLedToItAnyMore(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		withdrawn := make(chan struct{})
		n.net.withdraw = func(ctx context.Context, a netip.Addr) error {
			if a.String() != "10.1.0.2" {
				t.Errorf("asked to withdraw %s", a)
			}
			select {
			case <-withdrawn:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.delete("web", 30)
		n.expect(soon, "web", "Running ready a=running")
		close(withdrawn)
		n.expect(99*time.Millisecond, "web", "Running ready a=running")
		n.expect(2*time.Millisecond, "web", "gone")
	})
}

func TestANetworkThatDoesNotAnswerHoldsNoPodForEver(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.net.withdraw = func(ctx context.Context, _ netip.Addr) error { <-ctx.Done(); return ctx.Err() }
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.delete("web", 30)
		n.expect(3*time.Second, "web", "gone")
	})
}

func TestAPodWithFinalizersIsLeftToThem(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		p := parsePod(t, "job", `{restartPolicy: Never, containers: [{name: a}]}`)
		p.Finalizers = []string{"example.com/count"}
		n.put(p)
		n.expect(soon, "job", "Running ready a=running")
		n.delete("job", 30)
		n.expect(soon, "job", "Failed a=Error(143)")
		if n.fake.String() != "" {
			t.Errorf("left over:\n%s", n.fake)
		}
		p = n.get("job").DeepCopy()
		p.Finalizers = nil
		n.put(p)
		n.expect(soon, "job", "gone")
	})
}

func TestAPodThatVanishesFromTheStoreIsTakenDown(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{terminationGracePeriodSeconds: 300, containers: [{name: a, args: [stubborn, wait]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.drop("web")
		n.expect(4*time.Second, "web", "gone")
		if n.fake.String() != "" {
			t.Errorf("left over:\n%s", n.fake)
		}
	})
}

func TestAnImageIsAskedForLessAndLessOften(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{containers: [{name: a, image: "example.com/web:v1"}]}`)
		n.expect(soon, "web", "Pending a=ErrImagePull")
		n.expect(10*time.Second, "web", "Pending a=ImagePullBackOff")
		n.expect(time.Hour, "web", "Pending a=ImagePullBackOff")
		if pulls := n.images.asked(); pulls < 15 || pulls > 20 {
			t.Errorf("asked %d times in an hour, want about 17", pulls)
		}
		n.images.offer("example.com/web:v1")
		n.expect(5*time.Minute, "web", "Running ready a=running")
	})
}

func TestAnImageThatVanishesBeforeItIsUsedIsPulledAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.images.have("example.com/web:v1", true) // the runtime does not have it
		n.images.offer("example.com/web:v1")
		n.pod("web", `{containers: [{name: a, image: "example.com/web:v1"}]}`)
		synctest.Wait()
		n.images.have("example.com/web:v1", false)
		n.expect(2*soon, "web", "Running ready a=running")
	})
}

func TestWhatAContainerNeedsMayComeLater(t *testing.T) {
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "greeting"}, Data: map[string]string{"word": "hi"}}
	for _, row := range []struct{ name, spec, before string }{
		{"a variable", `{containers: [{name: a, env: [{name: W, valueFrom: {configMapKeyRef: {name: greeting, key: word}}}]}]}`, "Pending a=CreateContainerConfigError"},
		{"a volume", `{containers: [{name: a}], volumes: [{name: v, configMap: {name: greeting}}]}`, "Pending a=ContainerCreating"},
	} {
		t.Run(row.name, func(t *testing.T) {
			story(t, func(n *node, _ *Agent) {
				n.pod("web", row.spec)
				n.expect(time.Hour, "web", row.before)
				if m := n.get("web").Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, `configmap "greeting" not found`) {
					t.Errorf("it waits for %q", m)
				}
				n.put(config.DeepCopy())
				n.expect(0, "web", "Running ready a=running")
			})
		})
	}
}

func TestAVolumeFollowsItsConfigMap(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "greeting"}, Data: map[string]string{"word": "hi"}}
		n.put(config.DeepCopy())
		n.pod("web", `{containers: [{name: a}], volumes: [{name: v, configMap: {name: greeting}}]}`)
		n.expect(0, "web", "Running ready a=running")
		config.Data["word"] = "ho"
		n.put(config.DeepCopy())
		n.expect(0, "web", "Running ready a=running")
		if got := n.read("web", ".volumes/v/word"); got != "ho" {
			t.Errorf("the volume says %q", got)
		}
	})
}

func TestAChangedImageReplacesTheContainer(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.images.have("example.com/web:v2", true)
		n.fake.AddImage("example.com/web:v2", runtimetest.FakeImage{Digest: "sha256:8", Entrypoint: []string{"/prog"}, Cmd: []string{"wait"}})
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		p := n.get("web").DeepCopy()
		p.Spec.Containers[0].Image = "example.com/web:v2"
		n.put(p)
		n.expect(soon, "web", "Running ready a=running/1")
		if got := n.get("web").Status.ContainerStatuses[0].Image; got != "example.com/web:v2" {
			t.Errorf("it runs %s", got)
		}
	})
}

func TestAPodThatAsksForWhatIsNotSupportedSaysSo(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", `{hostUsers: false, containers: [{name: a, volumeDevices: [{name: x, devicePath: /x}]}]}`)
		n.expect(soon, "web", "Pending a=CreateContainerConfigError")
		if m := n.get("web").Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, "spec.hostUsers") || !strings.Contains(m, "containers[0].volumeDevices") {
			t.Errorf("it says %q", m)
		}
		n.delete("web", 30)
		n.expect(soon, "web", "gone")
	})
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		left := map[string]int{"MakeSandbox": 3, "Create": 3, "Start": 3}
		n.fake.Fault = func(c runtimetest.Call) runtimetest.Fault {
			if left[c.Verb] > 0 {
				left[c.Verb]--
				return runtimetest.Fault{Err: errors.New("no luck")}
			}
			return runtimetest.Fault{}
		}
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(time.Minute, "web", "Running ready a=running")
		for _, want := range []string{"FailedCreatePodSandBox", "Failed 3x: Error: Create"} {
			if !strings.Contains(n.events("web"), want) {
				t.Errorf("no event says %q:\n%s", want, n.events("web"))
			}
		}
	})
}

func TestTheNodePresentsItselfAndGoesOnToBeAlive(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		synctest.Wait()
		here, ok := store.Get[*corev1.Node](n.store.Snapshot(), "", "here")
		if !ok || !a.known(n.store.Snapshot()) || here.Status.Capacity.Cpu().IsZero() || here.Status.Addresses[0].Address != "192.0.2.1" {
			t.Fatalf("the node is %v", here)
		}
		// Somebody holds it for lost.
		lost := here.DeepCopy()
		lost.Status.Conditions[0].Status = corev1.ConditionUnknown
		n.put(lost)
		synctest.Wait()
		if !a.known(n.store.Snapshot()) {
			t.Error("the node did not object to being held for lost")
		}
		before := n.store.Snapshot().Revision()
		time.Sleep(time.Minute)
		synctest.Wait()
		if d := n.store.Snapshot().Revision() - before; d != 6 {
			t.Errorf("a minute at rest cost %d writes, want 6 renewals of the lease", d)
		}
	})
}
