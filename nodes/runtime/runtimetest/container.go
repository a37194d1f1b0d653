package runtimetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// A container of the fake: what is told of it, and what its program has still to do.
type container struct {
	runtime.Container
	spec       runtime.ContainerSpec
	image      FakeImage
	env        []string
	limited    bool // in memory, itself or by its pod
	stubborn   bool
	removed    bool
	written    int64 // to its own files
	todo       []script.Step
	due        time.Time // of the first of them; zero: it waits for ever
	input      []byte    // written and not read yet
	inputEnded bool
	size       runtime.Size // of its terminal
	stdout     stream
	stderr     stream
	startFails string
}

func newContainer(spec runtime.ContainerSpec, pod runtime.SandboxSpec, image FakeImage, now time.Time) (*container, error) {
	c := &container{
		Container: runtime.Container{
			ID: spec.ID, State: runtime.Created, Image: spec.Image, ImageID: image.Digest,
			Created: now, StopSignal: spec.StopSignal, Stdin: spec.Stdin, TTY: spec.TTY, Labels: maps.Clone(spec.Labels),
		},
		spec: spec, image: image,
		env:     slices.Concat(image.Env, spec.Env),
		limited: spec.Resources.MemoryLimit+pod.Resources.MemoryLimit > 0,
	}
	if c.StopSignal == 0 {
		c.StopSignal = syscall.SIGTERM
	}
	uid := image.UID
	if spec.Security.UID != nil {
		uid = *spec.Security.UID
	}
	if spec.Security.RunAsNonRoot && uid == 0 {
		return nil, &runtime.ConfigError{Reason: "runAsNonRoot is set and the container would run as user 0"}
	}
	argv := spec.Argv(image.Entrypoint, image.Cmd)
	if len(argv) == 0 {
		return nil, &runtime.ConfigError{Reason: "no command: neither the container nor its image names one"}
	}
	c.todo, c.startFails = program(argv, image)
	return c, nil
}

// program is what a command line does, or why it cannot be run.
func program(argv []string, image FakeImage) ([]script.Step, string) {
	if image.Programs != nil && !slices.Contains(image.Programs, argv[0]) {
		return nil, fmt.Sprintf("exec %s: no such file or directory", argv[0])
	}
	steps, err := script.Parse(argv[1:])
	switch {
	case argv[0] != "/prog":
		return []script.Step{{Verb: script.Wait}}, ""
	case err != nil:
		return []script.Step{{Verb: script.Eprint, Text: "prog: " + err.Error()}, {Verb: script.Exit, N: 2}}, ""
	}
	return append(steps, script.Step{Verb: script.Exit}), ""
}

// run does what a container's program does until now, or until it waits.
func (f *Fake) run(c *container, now time.Time) {
	for c.State == runtime.Running && !c.due.IsZero() && !c.due.After(now) {
		s := c.todo[0]
		c.todo = c.todo[1:]
		switch s.Verb {
		case script.Sleep:
			c.due = c.due.Add(s.For)
		case script.Wait:
			c.due = time.Time{}
		case script.Copy:
			f.copyInput(c, s)
		case script.Stubborn:
			c.stubborn = true
		case script.Exit:
			f.end(c, s.N)
		case script.Hog:
			c.OOMKilled = c.limited
			f.end(c, 137)
		default:
			c.do(s)
		}
	}
	f.moved.Broadcast()
}

// do runs a step that only writes.
func (c *container) do(s script.Step) {
	switch s.Verb {
	case script.Print:
		c.stdout.add(s.Text + "\n")
	case script.Eprint:
		c.errors().add(s.Text + "\n")
	case script.Lines, script.Paced:
		for i := range s.N {
			c.stdout.add(script.Line(i))
		}
	case script.Env:
		c.stdout.add(c.variable(s.Text) + "\n")
	case script.Workdir:
		dir := c.spec.WorkingDir
		if dir == "" {
			dir = c.image.WorkingDir
		}
		c.stdout.add(dir + "\n")
	}
}

func (c *container) variable(name string) string {
	for _, v := range slices.Backward(c.env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// end ends a container that runs; another stays as it is.
func (f *Fake) end(c *container, code int) {
	if c.State != runtime.Running {
		return
	}
	c.State, c.ExitCode, c.Finished = runtime.Exited, code, f.Now()
	if !c.due.IsZero() && c.due.Before(c.Finished) {
		c.Finished = c.due
	}
	c.due = time.Time{}
	f.moved.Broadcast()
}
