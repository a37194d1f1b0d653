package runtimetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

func TestTheFakeKeepsTheContract(t *testing.T) {
	Suite(t, func(t *testing.T) runtime.Runtime {
		f := NewFake(time.Now)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		return f
	})
}

// clock is a time that moves when a test says so.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestTheFakeMovesOnlyWithItsClock(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	f := NewFake(c.now)
	var told []types.UID
	f.Notify = func(uid types.UID) { told = append(told, uid) }
	p := NewPod(t, f)
	id := p.Start(p.Container("a", script.Sleep, "1h", script.Exit, "3"))
	told = nil
	if f.Step() {
		t.Error("nothing is due yet")
	}
	at, ok := f.Next()
	if !ok || at != c.t.Add(time.Hour) {
		t.Error("the next thing happens at", at, ok)
	}
	c.t = c.t.Add(2 * time.Hour)
	if !f.Step() || f.Step() {
		t.Error("one step was due")
	}
	if got := p.See(id); got.State != runtime.Exited || got.ExitCode != 3 || got.Finished != at {
		t.Errorf("it is %+v", got)
	}
	if diff := cmp.Diff([]types.UID{p.UID}, told); diff != "" {
		t.Error(diff)
	}
}

func TestAFaultStrikesBeforeOrAfterTheCall(t *testing.T) {
	lost := errors.New("lost")
	for _, row := range []struct {
		sentence string
		done     bool
		want     int
	}{
		{"before it did anything", false, 0},
		{"after it did all", true, 1},
	} {
		f := NewFake(time.Now)
		p := NewPod(t, f)
		f.Fault = func(c Call) Fault {
			if c.Verb == "Create" {
				return Fault{Err: lost, Done: row.done}
			}
			return Fault{}
		}
		if err := f.Create(t.Context(), p.Container("a")); !errors.Is(err, lost) {
			t.Errorf("%s: got %v", row.sentence, err)
		}
		s, err := f.Sandbox(t.Context(), p.UID)
		if err != nil || len(s.Containers) != row.want {
			t.Errorf("%s: %d containers, %v", row.sentence, len(s.Containers), err)
		}
	}
}

func TestContainersCanBeStruck(t *testing.T) {
	f := NewFake(time.Now)
	p := NewPod(t, f)
	for _, row := range []struct {
		sentence string
		strike   func(runtime.ID)
		state    runtime.State
		code     int
		oom      bool
	}{
		{"it exits", func(id runtime.ID) { f.Exit(id, 9) }, runtime.Exited, 9, false},
		{"it runs out of memory", f.OOM, runtime.Exited, 137, true},
		{"its shim is killed", f.Lose, runtime.Unknown, 0, false},
		{"the machine boots", func(runtime.ID) { f.Reboot() }, runtime.Unknown, 0, false},
	} {
		id := p.Start(p.Container(row.sentence, script.Wait))
		row.strike(id)
		if c := p.See(id); c.State != row.state || c.ExitCode != row.code || c.OOMKilled != row.oom {
			t.Errorf("%s: %+v", row.sentence, c)
		}
	}
	if s, err := f.Sandbox(t.Context(), p.UID); err != nil || s.Ready {
		t.Error("after a boot the sandbox is not ready:", s, err)
	}
	if s := p.MakeSandbox(); !s.Ready || len(s.Containers) != 0 {
		t.Error("it is made anew:", s)
	}
}
