package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/google/go-cmp/cmp"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// Suite checks that a Runtime keeps the contract of its interface. open is called once and returns one that is empty, and
// that has the image ImageName.
func Suite(t *testing.T, open func(t *testing.T) runtime.Runtime) {
	rt := open(t)
	for _, c := range slices.Concat(lifeCases, faultCases, streamCases, inputCases) {
		t.Run(c.sentence, func(t *testing.T) {
			c.check(newPod(t, rt))
		})
	}
	boxes, err := rt.Sandboxes(t.Context())
	if err != nil || len(boxes) != 0 {
		t.Errorf("in the end there are %v, %v", boxes, err)
	}
}

type suiteCase struct {
	sentence string
	check    func(*Pod)
}

// A Pod is one in a test, with a sandbox of its own that goes when the test ends.
type Pod struct {
	testing.TB
	Runtime runtime.Runtime
	UID     types.UID
}

func newPod(t testing.TB, rt runtime.Runtime) *Pod {
	p := &Pod{TB: t, Runtime: rt, UID: types.UID(fmt.Sprintf("pod-%x", time.Now().UnixNano()))}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.Runtime.RemoveSandbox(ctx, p.UID); err != nil {
			t.Error("clean up:", err)
		}
	})
	return p
}

// NewPod is a pod with its sandbox.
func NewPod(t testing.TB, rt runtime.Runtime) *Pod {
	p := newPod(t, rt)
	p.MakeSandbox()
	return p
}

func (p *Pod) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *Pod) spec() runtime.SandboxSpec {
	return runtime.SandboxSpec{
		Pod: p.UID, Namespace: "test", Name: "pod", Hostname: "pod", QoS: "Burstable",
		Resources: runtime.Resources{CPUShares: 100}, Labels: map[string]string{"app": "web"},
	}
}

// MakeSandbox makes the pod's sandbox.
func (p *Pod) MakeSandbox() runtime.Sandbox {
	p.Helper()
	s, err := p.Runtime.MakeSandbox(p.Context(), p.spec())
	p.ok(err)
	return s
}

// ID names the first run of a container.
func (p *Pod) ID(name string) runtime.ID { return runtime.ID{Pod: p.UID, Name: name} }

// Container is the spec of a container of the test image that runs a script.
func (p *Pod) Container(name string, script ...string) runtime.ContainerSpec {
	return runtime.ContainerSpec{ID: p.ID(name), Image: ImageName, Args: script, Labels: map[string]string{"name": name}}
}

// Start creates and starts a container.
func (p *Pod) Start(c runtime.ContainerSpec) runtime.ID {
	p.Helper()
	p.ok(p.Runtime.Create(p.Context(), c))
	p.ok(p.Runtime.Start(p.Context(), c.ID))
	return c.ID
}

// See is what the runtime says of a container, which must be there.
func (p *Pod) See(id runtime.ID) runtime.Container {
	p.Helper()
	s, err := p.Runtime.Sandbox(p.Context(), p.UID)
	p.ok(err)
	i := slices.IndexFunc(s.Containers, func(c runtime.Container) bool { return c.ID == id })
	if i < 0 {
		p.Fatalf("container %s is not there", id)
	}
	return s.Containers[i]
}

// Until waits for a container to be in a state.
func (p *Pod) Until(id runtime.ID, state runtime.State) runtime.Container {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	for uid, err := range p.Runtime.Events(ctx) {
		if err != nil {
			p.Fatalf("container %s is not %s but %+v: %v", id, state, p.See(id), err)
		}
		if uid != p.UID {
			continue
		}
		if c := p.See(id); c.State == state {
			return c
		}
	}
	p.Fatal("Events ended without an error")
	return runtime.Container{}
}

// Said reads all that a container writes to stdout and stderr, until it has ended.
func (p *Pod) Said(id runtime.ID) (string, string) {
	p.Helper()
	stdout, stderr, err := p.Runtime.Output(p.Context(), id)
	p.ok(err)
	defer stdout.Close()
	defer stderr.Close()
	var wg sync.WaitGroup
	var texts [2][]byte
	var errs [2]error
	for i, r := range []io.Reader{stdout, stderr} {
		wg.Go(func() { texts[i], errs[i] = io.ReadAll(r) })
	}
	wg.Wait()
	p.ok(errors.Join(errs[0], errs[1]))
	return string(texts[0]), string(texts[1])
}

// Says starts a container, waits for its end, and returns what it wrote to stdout.
func (p *Pod) Says(c runtime.ContainerSpec) string {
	p.Helper()
	out, _ := p.Said(p.Start(c))
	return strings.TrimSpace(out)
}

// Run runs a command in a container and returns its exit code and what it wrote to stdout.
func (p *Pod) Run(id runtime.ID, command ...string) (int, string) {
	p.Helper()
	var out bytes.Buffer
	code, err := p.Runtime.Exec(p.Context(), id, runtime.Exec{Command: command, Stdout: &out})
	p.ok(err)
	return code, strings.TrimSpace(out.String())
}

var lifeCases = []suiteCase{
	{"a sandbox is there as it was made, and making it again changes nothing", func(p *Pod) {
		if _, err := p.Runtime.Sandbox(p.Context(), p.UID); !errors.Is(err, runtime.ErrNotFound) {
			p.Error("before it is made:", err)
		}
		first, second := p.MakeSandbox(), p.MakeSandbox()
		if diff := cmp.Diff(first, second); diff != "" {
			p.Error(diff)
		}
		if !first.Ready || first.NetNS == "" || first.Namespace != "test" || first.Labels["app"] != "web" || first.Created.IsZero() {
			p.Errorf("it is %+v", first)
		}
		all, err := p.Runtime.Sandboxes(p.Context())
		p.ok(err)
		if diff := cmp.Diff([]runtime.Sandbox{first}, all); diff != "" {
			p.Error(diff)
		}
	}},
	{"a removed sandbox is gone, and removing it again is no error", func(p *Pod) {
		p.MakeSandbox()
		p.Start(p.Container("a", script.Wait))
		for range 2 {
			p.ok(p.Runtime.RemoveSandbox(p.Context(), p.UID))
		}
		if _, err := p.Runtime.Sandbox(p.Context(), p.UID); !errors.Is(err, runtime.ErrNotFound) {
			p.Error("it is there:", err)
		}
	}},
	{"a pod on the host's network has no network namespace", func(p *Pod) {
		spec := p.spec()
		spec.HostNetwork = true
		s, err := p.Runtime.MakeSandbox(p.Context(), spec)
		p.ok(err)
		if s.NetNS != "" {
			p.Error("it has", s.NetNS)
		}
		if code, _ := p.Run(p.Start(p.Container("a", script.Wait)), "/prog", "exit", "4"); code != 4 {
			p.Error("got code", code)
		}
	}},
	{"a container is created, then runs, then has ended with its code", func(p *Pod) {
		p.MakeSandbox()
		spec := p.Container("a", script.Sleep, "50ms", script.Exit, "7")
		for range 2 {
			p.ok(p.Runtime.Create(p.Context(), spec))
		}
		if c := p.See(spec.ID); c.State != runtime.Created || c.Image != ImageName || c.Created.IsZero() || c.Labels["name"] != "a" || c.StopSignal != syscall.SIGTERM {
			p.Errorf("created: %+v", c)
		}
		for range 2 {
			p.ok(p.Runtime.Start(p.Context(), spec.ID))
		}
		c := p.Until(spec.ID, runtime.Exited)
		if c.ExitCode != 7 || c.Started.Before(c.Created) || c.Finished.Before(c.Started) || c.OOMKilled {
			p.Errorf("ended: %+v", c)
		}
		p.ok(p.Runtime.Start(p.Context(), spec.ID))
		if again := p.See(spec.ID); again.State != runtime.Exited {
			p.Error("one that has ended does not run again, but it is", again.State)
		}
	}},
	{"signals end a container, and do nothing to one that has ended", func(p *Pod) {
		p.MakeSandbox()
		for sig, code := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGKILL: 137} {
			id := p.Start(p.Container(fmt.Sprint("s", int(sig)), script.Print, "up", script.Wait))
			p.FirstLine(id)
			p.ok(p.Runtime.Signal(p.Context(), id, sig))
			if c := p.Until(id, runtime.Exited); c.ExitCode != code {
				p.Errorf("signal %d: it ended with %d, want %d", sig, c.ExitCode, code)
			}
			p.ok(p.Runtime.Signal(p.Context(), id, sig))
		}
	}},
	{"a container that ignores SIGTERM runs on until SIGKILL", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Stubborn, script.Print, "up", script.Wait))
		p.FirstLine(id)
		p.ok(p.Runtime.Signal(p.Context(), id, syscall.SIGTERM))
		if code, _ := p.Run(id, "/prog", script.Exit, "0"); code != 0 {
			p.Error("it should run:", code)
		}
		p.ok(p.Runtime.Signal(p.Context(), id, syscall.SIGKILL))
		p.Until(id, runtime.Exited)
	}},
	{"a container is removed while it runs, and may be removed again", func(p *Pod) {
		p.MakeSandbox()
		id := p.Start(p.Container("a", script.Wait))
		for range 2 {
			p.ok(p.Runtime.Remove(p.Context(), id))
		}
		s, err := p.Runtime.Sandbox(p.Context(), p.UID)
		p.ok(err)
		if len(s.Containers) != 0 {
			p.Error("it is there:", s.Containers)
		}
	}},
	{"the next attempt runs beside what is left of the last, while a sibling runs", func(p *Pod) {
		p.MakeSandbox()
		sibling := p.Start(p.Container("b", script.Wait))
		for attempt := range 3 {
			spec := p.Container("a", script.Exit, fmt.Sprint(attempt))
			spec.ID.Attempt = attempt
			if c := p.Until(p.Start(spec), runtime.Exited); c.ExitCode != attempt {
				p.Errorf("attempt %d ended with %d", attempt, c.ExitCode)
			}
		}
		if c := p.See(sibling); c.State != runtime.Running {
			p.Error("the sibling is", c.State)
		}
	}},
	{"a pod's only container ends and runs again, many times in a row", func(p *Pod) {
		p.MakeSandbox()
		for attempt := range 10 {
			spec := p.Container("a", script.Exit, "1")
			spec.ID.Attempt = attempt
			p.Until(p.Start(spec), runtime.Exited)
			p.ok(p.Runtime.Remove(p.Context(), spec.ID))
		}
	}},
	{"containers are listed in the order of their creation", func(p *Pod) {
		p.MakeSandbox()
		for _, name := range []string{"c", "a", "b"} {
			p.ok(p.Runtime.Create(p.Context(), p.Container(name)))
		}
		s, err := p.Runtime.Sandbox(p.Context(), p.UID)
		p.ok(err)
		var names []string
		for _, c := range s.Containers {
			names = append(names, c.ID.Name)
		}
		if diff := cmp.Diff([]string{"c", "a", "b"}, names); diff != "" {
			p.Error(diff)
		}
	}},
	{"events first name each pod that is here, then those in which something happens", func(p *Pod) {
		p.MakeSandbox()
		p.ok(p.Runtime.Create(p.Context(), p.Container("a", script.Exit, "0")))
		ctx, cancel := context.WithTimeout(p.Context(), patience)
		defer cancel()
		seen := 0
		for uid, err := range p.Runtime.Events(ctx) {
			p.ok(err)
			if uid != p.UID {
				continue
			}
			if seen++; seen == 1 {
				p.ok(p.Runtime.Start(ctx, p.ID("a")))
			}
			if p.See(p.ID("a")).State == runtime.Exited {
				break
			}
		}
		cancel()
		for _, err := range p.Runtime.Events(ctx) {
			if err != nil && !errors.Is(err, context.Canceled) {
				p.Error("the error at its end is", err)
			}
		}
	}},
	{"pods live and go side by side", func(p *Pod) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				o := &Pod{TB: p.TB, Runtime: p.Runtime, UID: p.UID + types.UID(fmt.Sprint("-", i))}
				if err := o.live(i); err != nil {
					p.Errorf("pod %d: %v", i, err)
				}
			})
		}
		wg.Wait()
	}},
}

// live makes a pod with a container that ends with a code, and removes it. It may be called from any goroutine.
func (p *Pod) live(code int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := p.Runtime.MakeSandbox(ctx, p.spec()); err != nil {
		return err
	}
	spec := p.Container("a", script.Exit, fmt.Sprint(code))
	if err := errors.Join(p.Runtime.Create(ctx, spec), p.Runtime.Start(ctx, spec.ID)); err != nil {
		return err
	}
	for uid, err := range p.Runtime.Events(ctx) {
		if err != nil {
			return err
		}
		if uid != p.UID {
			continue
		}
		s, err := p.Runtime.Sandbox(ctx, p.UID)
		if err != nil {
			return err
		}
		if c := s.Containers[0]; c.State == runtime.Exited {
			if c.ExitCode != code {
				return fmt.Errorf("it ended with %d", c.ExitCode)
			}
			break
		}
	}
	return p.Runtime.RemoveSandbox(ctx, p.UID)
}

// FirstLine waits until a container has written a line.
func (p *Pod) FirstLine(id runtime.ID) string {
	p.Helper()
	stdout, stderr, err := p.Runtime.Output(p.Context(), id)
	p.ok(err)
	defer stderr.Close()
	defer stdout.Close()
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b[0]) {
		_, err := io.ReadFull(stdout, b)
		p.ok(err)
	}
	return string(line)
}
