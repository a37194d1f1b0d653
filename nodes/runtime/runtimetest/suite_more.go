package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

var faultCases = []suiteCase{
	{"a container needs a sandbox and an image that is here", func(p *Pod) {
		if err := p.Runtime.Create(p.Context(), p.Container("a")); !errors.Is(err, runtime.ErrNotFound) {
			p.Error("without a sandbox:", err)
		}
		p.MakeSandbox()
		spec := p.Container("a")
		spec.Image = "mainstay.local/absent:v1"
		if err := p.Runtime.Create(p.Context(), spec); !errors.Is(err, runtime.ErrNoImage) {
			p.Error("without its image:", err)
		}
	}},
	{"an image is shown for a volume until the sandbox goes, and stays what it was", func(p *Pod) {
		mount := func(image string) (runtime.ImageMount, error) {
			return p.Runtime.MountImage(p.Context(), p.UID, "model", image)
		}
		if _, err := mount(ImageName); !errors.Is(err, runtime.ErrNotFound) {
			p.Error("without a sandbox:", err)
		}
		p.MakeSandbox()
		if _, err := mount("mainstay.local/absent:v1"); !errors.Is(err, runtime.ErrNoImage) {
			p.Error("without the image:", err)
		}
		first, err := mount(ImageName)
		p.ok(err)
		if first.Volume != "model" || first.Image != ImageName || first.ImageID == "" || first.Path == "" {
			p.Errorf("it is %+v", first)
		}
		if again, err := mount("mainstay.local/absent:v1"); err != nil || again != first {
			p.Errorf("mounted again it is %+v, %v", again, err)
		}
		if box := p.MakeSandbox(); len(box.Images) != 1 || box.Images[0] != first {
			p.Errorf("the sandbox has the images %+v", box.Images)
		}
		p.ok(p.Runtime.RemoveSandbox(p.Context(), p.UID))
		if box := p.MakeSandbox(); len(box.Images) != 0 {
			p.Errorf("a new sandbox has the images %+v", box.Images)
		}
	}},
	{"a handler that is not on this machine is said", func(p *Pod) {
		spec := p.spec()
		spec.Handler = "gvisor"
		if _, err := p.Runtime.MakeSandbox(p.Context(), spec); err == nil || !strings.Contains(err.Error(), `no runtime for handler "gvisor"`) {
			p.Error("got", err)
		}
		spec.Handler = "runc"
		_, err := p.Runtime.MakeSandbox(p.Context(), spec)
		p.ok(err)
	}},
	{"what is done to a container that is not there is said", func(p *Pod) {
		p.MakeSandbox()
		id := p.ID("nobody")
		_, _, output := p.Runtime.Output(p.Context(), id)
		_, exec := p.Runtime.Exec(p.Context(), id, runtime.Exec{Command: []string{"/prog"}})
		for what, err := range map[string]error{
			"start": p.Runtime.Start(p.Context(), id), "signal": p.Runtime.Signal(p.Context(), id, 15), "output": output, "exec": exec,
		} {
			if !errors.Is(err, runtime.ErrNotFound) {
				p.Errorf("%s: got %v", what, err)
			}
		}
	}},
	{"a program that is not in the image is a start error, and the container has ended", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a")
		spec.Command = []string{"/nope"}
		p.ok(p.Runtime.Create(p.Context(), spec))
		err := p.Runtime.Start(p.Context(), spec.ID)
		const want = "exec /nope: no such file or directory"
		if e, ok := errors.AsType[*runtime.StartError](err); !ok || e.Reason != want {
			p.Errorf("got %v, want %s", err, want)
		}
		if c := p.See(spec.ID); c.State != runtime.Exited || c.ExitCode != 128 || c.StartError != want || c.Finished.IsZero() {
			p.Errorf("it is %+v", c)
		}
		if out, errout := p.Said(spec.ID); out+errout != "" {
			p.Error("it wrote", out, errout)
		}
		spec = p.Container("a", script.Exit, "0")
		spec.ID.Attempt = 1
		p.Until(p.Start(spec), runtime.Exited)
	}},
	{"runAsNonRoot refuses an image whose user is root, and takes another user", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a")
		spec.Security.RunAsNonRoot = true
		if _, ok := errors.AsType[*runtime.ConfigError](p.Runtime.Create(p.Context(), spec)); !ok {
			p.Error("it was not refused")
		}
		uid := int64(1000)
		spec.Security.UID = &uid
		p.ok(p.Runtime.Create(p.Context(), spec))
	}},
	{"a container that takes more memory than it may is killed, and that is told", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a", script.Hog)
		spec.Resources.MemoryLimit = 32 << 20
		if c := p.Until(p.Start(spec), runtime.Exited); !c.OOMKilled || c.ExitCode != 137 {
			p.Errorf("it is %+v", c)
		}
	}},
	{"a container that is killed by a signal is not called out of memory", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a", script.Wait)
		spec.Resources.MemoryLimit = 64 << 20
		id := p.Start(spec)
		p.ok(p.Runtime.Signal(p.Context(), id, 9))
		if c := p.Until(id, runtime.Exited); c.OOMKilled || c.ExitCode != 137 {
			p.Errorf("it is %+v", c)
		}
	}},
	{"a call whose context has ended fails", func(p *Pod) {
		ctx, cancel := context.WithCancel(p.Context())
		cancel()
		if _, err := p.Runtime.MakeSandbox(ctx, p.spec()); !errors.Is(err, context.Canceled) {
			p.Error("got", err)
		}
	}},
}

// write writes a text to a container's input.
func (p *Pod) write(id runtime.ID, text string) {
	p.Helper()
	in, err := p.Runtime.Input(p.Context(), id)
	p.ok(err)
	_, err = io.WriteString(in, text)
	p.ok(errors.Join(err, in.Close()))
}

var inputCases = []suiteCase{
	{"what is written to a container's input comes to it, from one writer after the other, and then its end", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a", script.Copy, script.Print, "end")
		spec.Stdin = true
		id := p.Start(spec)
		p.write(id, "one\n")
		p.write(id, "two\n")
		p.ok(p.Runtime.EndInput(p.Context(), id))
		if out, _ := p.Said(id); out != "one\ntwo\nend\n" {
			p.Errorf("it wrote %q", out)
		}
		p.Until(id, runtime.Exited)
		if _, err := p.Runtime.Input(p.Context(), id); !errors.Is(err, runtime.ErrNotRunning) {
			p.Error("after its end:", err)
		}
	}},
	{"a container that was made without an input has none", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Copy, script.Print, "end", script.Wait))
		if _, err := p.Runtime.Input(p.Context(), id); !errors.Is(err, runtime.ErrNoInput) {
			p.Error("got", err)
		}
		p.ok(p.Runtime.EndInput(p.Context(), id))
		if line := p.FirstLine(id); strings.TrimSpace(line) != "end" {
			p.Errorf("it wrote %q", line)
		}
	}},
	{"a container with a terminal has one output, and an input that does not end", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a", script.Eprint, "up", script.Wait)
		spec.Stdin, spec.TTY = true, true
		id := p.Start(spec)
		if c := p.See(id); !c.TTY || !c.Stdin {
			p.Errorf("it is %+v", c)
		}
		p.ok(p.Runtime.Resize(p.Context(), id, runtime.Size{Width: 80, Height: 24}))
		if line := p.FirstLine(id); strings.TrimSpace(line) != "up" {
			p.Errorf("it wrote %q", line)
		}
		p.ok(p.Runtime.EndInput(p.Context(), id))
		p.write(id, "still there\n")
		if c := p.See(id); c.State != runtime.Running {
			p.Error("it is", c.State)
		}
	}},
}

var streamCases = []suiteCase{
	{"output is that of both streams, also what was written before anybody read", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Print, "one", script.Eprint, "two", script.Print, "three"))
		p.Until(id, runtime.Exited)
		out, errout := p.Said(id)
		if out != "one\nthree\n" || errout != "two\n" {
			p.Errorf("stdout %q, stderr %q", out, errout)
		}
	}},
	{"output is whole when a reader comes, goes and comes again", func(p *Pod) {
		const n = 5000
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Print, "up", script.Sleep, "20ms", script.Lines, "5000"))
		p.FirstLine(id)
		out, _ := p.Said(id)
		if got := strings.Count(out, "\n"); got != n || !strings.HasSuffix(out, script.Line(n-1)) {
			p.Errorf("%d lines, want %d", got, n)
		}
	}},
	{"more output than a pipe holds comes through", func(p *Pod) {
		const n = 400_000 // 4 MB
		p.MakeSandbox()
		out := p.Says(p.Container("a", script.Lines, "400000"))
		if got := len(out) + 1; got != n*10 {
			p.Errorf("%d bytes, want %d", got, n*10)
		}
	}},
	{"only one reader at a time", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Wait))
		stdout, stderr, err := p.Runtime.Output(p.Context(), id)
		p.ok(err)
		if _, _, err := p.Runtime.Output(p.Context(), id); err == nil {
			p.Error("a second one was let in")
		}
		stdout.Close()
		stderr.Close()
		p.firstEnd(id)
	}},
	{"a command line is the container's, or the image's with the container's arguments", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("command", script.Print, "args")
		spec.Command = []string{"/prog", script.Print, "command"}
		if got := p.Says(spec); got != "command\nargs" {
			p.Errorf("command and arguments: %q", got)
		}
		id := p.Start(p.Container("neither"))
		if c := p.See(id); c.State != runtime.Running {
			p.Error("the image's own: it should wait, but is", c.State)
		}
	}},
	{"the environment is the image's, then the container's", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a", script.Env, "FROM", script.Env, "OWN", script.Env, "PATH")
		spec.Env = []string{"OWN=1", "FROM=container"}
		if got := p.Says(spec); got != "container\n1\n/" {
			p.Errorf("got %q", got)
		}
	}},
	{"the working folder is the container's, else the image's", func(p *Pod) {
		p.MakeSandbox()
		if got := p.Says(p.Container("image", script.Workdir)); got != "/data" {
			p.Errorf("got %q", got)
		}
		spec := p.Container("own", script.Workdir)
		spec.WorkingDir = "/tmp"
		if got := p.Says(spec); got != "/tmp" {
			p.Errorf("got %q", got)
		}
	}},
	{"exec returns the code, and both streams", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Wait))
		var out, errout bytes.Buffer
		code, err := p.Runtime.Exec(p.Context(), id, runtime.Exec{
			Command: []string{"/prog", script.Print, "out", script.Eprint, "err", script.Exit, "5"}, Stdout: &out, Stderr: &errout,
		})
		p.ok(err)
		if code != 5 || out.String() != "out\n" || errout.String() != "err\n" {
			p.Errorf("code %d, stdout %q, stderr %q", code, &out, &errout)
		}
		if code, _ := p.Run(id, "/prog"); code != 0 {
			p.Error("without streams: code", code)
		}
	}},
	{"exec passes stdin on, and its end", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Wait))
		var out bytes.Buffer
		in := strings.Repeat("a line of text\n", 20_000)
		code, err := p.Runtime.Exec(p.Context(), id, runtime.Exec{
			Command: []string{"/prog", script.Copy, script.Print, "end"}, Stdin: strings.NewReader(in), Stdout: &out,
		})
		p.ok(err)
		if code != 0 || out.String() != in+"end\n" {
			p.Errorf("code %d, %d bytes of %d", code, out.Len(), len(in)+4)
		}
	}},
	{"exec ends with its context, and the container runs on", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Wait))
		ctx, cancel := context.WithCancel(p.Context())
		defer cancel()
		_, err := p.Runtime.Exec(ctx, id, runtime.Exec{
			Command: []string{"/prog", script.Print, "up", script.Wait}, Stdout: writerFunc(func([]byte) { cancel() }),
		})
		if !errors.Is(err, context.Canceled) {
			p.Error("got", err)
		}
		if c := p.See(id); c.State != runtime.Running {
			p.Error("the container is", c.State)
		}
	}},
	{"exec says what cannot be run, and where", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Wait))
		_, err := p.Runtime.Exec(p.Context(), id, runtime.Exec{Command: []string{"/nope"}})
		if e, ok := errors.AsType[*runtime.StartError](err); !ok || e.Reason != "exec /nope: no such file or directory" {
			p.Error("no such program:", err)
		}
		p.ok(p.Runtime.Create(p.Context(), p.Container("created")))
		if _, err := p.Runtime.Exec(p.Context(), p.ID("created"), runtime.Exec{Command: []string{"/prog"}}); !errors.Is(err, runtime.ErrNotRunning) {
			p.Error("not started:", err)
		}
		p.firstEnd(id)
		if _, err := p.Runtime.Exec(p.Context(), id, runtime.Exec{Command: []string{"/prog"}}); !errors.Is(err, runtime.ErrNotRunning) {
			p.Error("ended:", err)
		}
	}},
}

// firstEnd kills a container, and waits until its output ends.
func (p *Pod) firstEnd(id runtime.ID) {
	p.Helper()
	p.ok(p.Runtime.Signal(p.Context(), id, 9))
	p.Said(id)
	p.Until(id, runtime.Exited)
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
