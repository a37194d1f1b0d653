package agent

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// logs reads what kubectl logs would show, or the error.
func (n *node) logs(a *Agent, pod string, o *corev1.PodLogOptions) string {
	r, err := a.Logs(n.t.Context(), "hello", pod, o)
	if err != nil {
		return "error: " + err.Error()
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(text)
}

func TestLogsOfContainers(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{containers: [{name: a, args: [print, one, eprint, two, wait]}, {name: b}]}`)
		n.pod("lone", `{containers: [{name: a, args: [print, once, exit, "1"]}]}`)
		n.pod("waits", `{containers: [{name: a, image: "example.com/nope:v1"}]}`)
		n.pod("last", `{restartPolicy: Never, containers: [{name: a, args: [print, bye, exit, "0"]}]}`)
		n.pod("twice", `{restartPolicy: Never, containers: [{name: a, args: [print, one, print, two, exit, "0"]}]}`)
		time.Sleep(time.Minute)
		synctest.Wait()
		one := int64(1)
		for _, row := range []struct {
			name, pod string
			opts      corev1.PodLogOptions
			want      string
		}{
			{"of one of several", "web", corev1.PodLogOptions{Container: "a", Stream: new("Stdout")}, "one\n"},
			{"of the other stream", "web", corev1.PodLogOptions{Container: "a", Stream: new("Stderr")}, "two\n"},
			{"the last line", "twice", corev1.PodLogOptions{TailLines: &one}, "two\n"},
			{"of which one?", "web", corev1.PodLogOptions{}, "error: a container name must be specified for pod web, choose one of: [a b]"},
			{"of one that is not there", "web", corev1.PodLogOptions{Container: "c"}, "error: container c is not valid for pod web"},
			{"of the only one", "lone", corev1.PodLogOptions{}, "once\n"},
			{"of its run before", "lone", corev1.PodLogOptions{Previous: true}, "once\n"},
			{"of a run before that was none", "web", corev1.PodLogOptions{Container: "b", Previous: true}, `error: previous terminated container "b" in pod "web" not found`},
			{"of one that has not begun", "waits", corev1.PodLogOptions{}, `error: container "a" in pod "waits" is waiting to start: ImagePullBackOff`},
			{"of a pod that is done", "last", corev1.PodLogOptions{Follow: true}, "bye\n"},
			{"of a pod that is not there", "nope", corev1.PodLogOptions{}, `error: pods "nope" not found`},
		} {
			if got := n.logs(a, row.pod, &row.opts); got != row.want {
				t.Errorf("%s: %q, want %q", row.name, got, row.want)
			}
		}
	})
}

func TestLogsAreFollowedUntilTheContainerEnds(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{restartPolicy: Never, containers: [{name: a, args: [print, one, sleep, 5s, print, two]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		if got := n.logs(a, "web", &corev1.PodLogOptions{Follow: true}); got != "one\ntwo\n" {
			t.Errorf("the log is %q", got)
		}
	})
}

func TestLogsOfEarlierRunsAreCleared(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{containers: [{name: a, args: [print, once, exit, "1"]}]}`)
		time.Sleep(time.Hour)
		synctest.Wait()
		restarts := int(n.get("web").Status.ContainerStatuses[0].RestartCount)
		dir := a.cfg.Volumes.ContainerDir("uid-web", "a")
		if newest := newestLog(dir); newest != restarts || restarts < 10 {
			t.Errorf("the newest log is %d, of %d restarts", newest, restarts)
		}
		if names := n.list(dir); len(names) != 2 {
			t.Errorf("kept are %v", names)
		}
	})
}

func TestLastWordsAreInTheStatus(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("log", `{restartPolicy: Never, containers: [{name: a, terminationMessagePolicy: FallbackToLogsOnError, args: [print, it is broken, exit, "1"]}]}`)
		n.pod("none", `{restartPolicy: Never, containers: [{name: a, args: [print, it is broken, exit, "1"]}]}`)
		n.expect(soon, "log", "Failed a=Error(1)")
		n.expect(soon, "none", "Failed a=Error(1)")
		for pod, want := range map[string]string{"log": "it is broken\n", "none": ""} {
			if got := n.get(pod).Status.ContainerStatuses[0].State.Terminated.Message; got != want {
				t.Errorf("the last words of %s are %q, want %q", pod, got, want)
			}
		}
	})
}

func TestWhatWasWrittenWhileNobodyReadIsInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		_, stop := n.run()
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.fake.Write(id("web", "a", 0), "before\n")
		synctest.Wait()
		stop()
		n.fake.Write(id("web", "a", 0), "meanwhile\n")
		a, stop := n.run()
		defer stop()
		synctest.Wait()
		n.fake.Write(id("web", "a", 0), "after\n")
		synctest.Wait()
		if got := n.logs(a, "web", &corev1.PodLogOptions{}); got != strings.Join([]string{"before", "meanwhile", "after", ""}, "\n") {
			t.Errorf("the log is %q", got)
		}
	})
}
