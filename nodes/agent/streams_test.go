package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func TestCommandsRunInContainersThatRun(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{containers: [{name: a, args: [wait]}]}`)
		n.pod("last", `{restartPolicy: Never, containers: [{name: a, args: [exit, "0"]}]}`)
		n.pod("waits", `{containers: [{name: a, image: "example.com/nope:v1"}]}`)
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, row := range []struct {
			name, pod, container string
			command              []string
			code                 int
			out, want            string
		}{
			{"one that ends well", "web", "a", []string{"/prog", "print", "hello"}, 0, "hello\n", ""},
			{"one that fails", "web", "a", []string{"/prog", "exit", "3"}, 3, "", ""},
			{"one that is not there", "web", "a", []string{"/nope"}, 0, "", "exec /nope: no such file or directory"},
			{"in a container that is not there", "web", "b", []string{"/prog"}, 0, "", `container not found ("b") in pod web: it is not running`},
			{"in one that has ended", "last", "a", []string{"/prog"}, 0, "", `container not found ("a") in pod last: it has ended: Completed`},
			{"in one that has not begun", "waits", "a", []string{"/prog"}, 0, "", `container not found ("a") in pod waits: it is waiting: ImagePullBackOff`},
			{"in a pod that is not there", "nope", "a", []string{"/prog"}, 0, "", `pods "nope" not found`},
		} {
			var out bytes.Buffer
			code, err := a.Exec(context.Background(), "hello", row.pod, row.container, runtime.Exec{Command: row.command, Stdout: &out})
			said := ""
			if err != nil {
				said = err.Error()
			}
			if code != row.code || out.String() != row.out || said != row.want {
				t.Errorf("%s: code %d, %q, %q", row.name, code, &out, said)
			}
		}
	})
}

func TestWhoAttachesIsToldWhatIsWrittenFromThenOn(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{restartPolicy: Never, containers: [{name: a, args: [print, before, sleep, 10s, print, after, eprint, failed, sleep, 1s]}]}`)
		n.expect(soon, "web", "Running ready a=running")
		var out, errOut bytes.Buffer
		if err := a.Attach(context.Background(), "hello", "web", "a", runtime.Exec{Stdout: &out, Stderr: &errOut}); err != nil {
			t.Fatal(err)
		}
		if out.String() != "after\n" || errOut.String() != "failed\n" {
			t.Errorf("stdout %q, stderr %q", &out, &errOut)
		}
		if err := a.Attach(context.Background(), "hello", "web", "a", runtime.Exec{Stdout: &out}); err == nil {
			t.Error("one can attach to what has ended")
		}
	})
}

func TestInputReachesAContainer(t *testing.T) {
	for _, row := range []struct{ name, spec, want, state string }{
		{"it stays open for the next", `stdin: true`, "one\ntwo\n", "Running ready a=running"},
		{"it ends with the first who brings some", `stdin: true, stdinOnce: true`, "one\nend\n", "Succeeded a=Completed(0)"},
		{"a terminal does not end", `stdin: true, stdinOnce: true, tty: true`, "one\ntwo\n", "Running ready a=running"},
		{"nobody wants it", ``, "end\n", "Succeeded a=Completed(0)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			story(t, func(n *node, a *Agent) {
				n.pod("cat", `{restartPolicy: Never, containers: [{name: a, args: [sleep, 5s, copy, print, end], `+row.spec+`}]}`)
				n.expect(soon, "cat", "Running ready a=running")
				var out bytes.Buffer
				for _, text := range []string{"one\n", "two\n"} {
					err := a.Attach(context.Background(), "hello", "cat", "a", runtime.Exec{Stdin: strings.NewReader(text), Stdout: &out})
					if err != nil && !strings.Contains(err.Error(), "it has ended") {
						t.Error(err)
					}
					time.Sleep(10 * time.Second)
				}
				if got := n.logs(a, "cat", &corev1.PodLogOptions{}); got != row.want {
					t.Errorf("it wrote %q, want %q", got, row.want)
				}
				n.expect(soon, "cat", row.state)
			})
		})
	}
}

func TestWhoLeavesLeavesTheContainerRunning(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{containers: [{name: a, args: [copy], stdin: true, tty: true}]}`)
		n.expect(soon, "web", "Running ready a=running")
		ctx, leave := context.WithCancel(context.Background())
		in, typed := io.Pipe()
		sizes := make(chan runtime.Size, 1)
		sizes <- runtime.Size{Width: 80, Height: 24}
		done := make(chan error, 1)
		go func() {
			done <- a.Attach(ctx, "hello", "web", "a", runtime.Exec{Stdin: in, Stdout: io.Discard, TTY: true, Resize: sizes})
		}()
		if _, err := io.WriteString(typed, "hello\n"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		leave()
		typed.Close()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		n.expect(soon, "web", "Running ready a=running")
		if size := n.fake.TerminalOf(runtime.ID{Pod: "uid-web", Name: "a"}); size.Width != 80 {
			t.Errorf("its terminal is %v", size)
		}
	})
}
