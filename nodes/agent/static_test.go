package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/static"
)

// own is a pod of the node's own.
func own(t *testing.T, name, spec string) *corev1.Pod {
	t.Helper()
	p, err := static.Adopt(parsePod(t, name, spec), "here")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPodOfTheNodesOwnRunsAndIsMirrored(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		web := own(t, "web", `{containers: [{name: a}]}`)
		a.SetStatic([]*corev1.Pod{web}, nil)
		n.expect(soon, "web-here", "Running ready a=running")
		first := n.get("web-here")
		if uid, ok := static.Mirrored(first); !ok || uid != web.UID || first.UID == web.UID {
			t.Errorf("its mirror is %s, of %s", first.UID, uid)
		}

		n.delete("web-here", 30)
		n.expect(soon, "web-here", "Running ready a=running")
		if p := n.get("web-here"); p.UID == first.UID || p.DeletionTimestamp != nil {
			t.Error("the mirror was not made anew")
		}
		n.drop("web-here")
		n.expect(soon, "web-here", "Running ready a=running")

		// Another one of its name waits for its end.
		next := own(t, "web", `{terminationGracePeriodSeconds: 5, containers: [{name: b}]}`)
		a.SetStatic([]*corev1.Pod{next}, nil)
		n.expect(2*soon, "web-here", "Running ready b=running")
		if uid, _ := static.Mirrored(n.get("web-here")); uid != next.UID {
			t.Error("the mirror shows the old one")
		}

		a.SetStatic(nil, nil)
		n.expect(2*soon, "web-here", "gone")
		if left := n.fake.String(); left != "" {
			t.Errorf("left over:\n%s", left)
		}
	})
}

func TestWhatNobodyMirrorsGoesAndASomebodyElsesPodStays(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.put(static.Mirror(own(t, "old", `{containers: [{name: a}]}`))) // its file went while nobody looked
		theirs := n.pod("web-here", `{containers: [{name: a}]}`)
		a.SetStatic([]*corev1.Pod{own(t, "web", `{containers: [{name: b}]}`)}, nil)
		n.expect(soon, "old-here", "gone")
		n.expect(soon, "web-here", "Running ready a=running")
		if n.get("web-here").UID != theirs.UID {
			t.Error("somebody else's pod was replaced")
		}
	})
}

// refusing writes nothing while it is told so.
type refusing struct {
	Writer
	refuse bool
}

func (r *refusing) Write(ctx context.Context, rep Report) error {
	if r.refuse {
		return errors.New("the disk is full")
	}
	return r.Writer.Write(ctx, rep)
}

func TestAPodOfTheNodesOwnRunsWhileTheStoreRefusesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		w := &refusing{refuse: true}
		n.config = func(c *Config) {
			w.Writer = c.Writer
			c.Writer = w
		}
		a, stop := n.run()
		a.SetStatic([]*corev1.Pod{own(t, "web", `{containers: [{name: a}]}`)}, nil)
		n.expect(time.Minute, "web-here", "gone")
		if boxes, err := n.fake.Sandboxes(t.Context()); err != nil || len(boxes) != 1 || boxes[0].Containers[0].State != "running" {
			t.Errorf("it does not run: %v, %v", boxes, err)
		}
		w.refuse = false
		n.expect(20*time.Second, "web-here", "Running ready a=running")
		stop()

		// The next process finds it, and starts nothing anew.
		n.config = func(c *Config) {}
		again := n.agent()
		again.SetStatic([]*corev1.Pod{own(t, "web", `{containers: [{name: a}]}`)}, nil)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); again.Run(ctx) }()
		n.expect(time.Minute, "web-here", "Running ready a=running")
		if boxes, _ := n.fake.Sandboxes(t.Context()); len(boxes) != 1 || len(boxes[0].Containers) != 1 {
			t.Errorf("%v", boxes)
		}
		cancel()
		<-done
	})
}
