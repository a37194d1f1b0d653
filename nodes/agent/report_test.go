package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// recorder keeps what is written, and when.
type recorder struct {
	begun time.Time
	takes time.Duration // to write
	fails int           // the next writes
	lines []string
}

func (r *recorder) Write(_ context.Context, rep Report) error {
	var parts []string
	for _, p := range rep.Pods {
		parts = append(parts, fmt.Sprintf("%s:%s", p.Key.Name, p.Status.Message))
	}
	for _, e := range rep.Events {
		parts = append(parts, fmt.Sprintf("%dx %s", e.Count, e.Message))
	}
	line := fmt.Sprintf("%s %s", time.Since(r.begun), strings.Join(parts, " "))
	time.Sleep(r.takes)
	if r.fails > 0 {
		r.fails--
		return errors.New("no luck")
	}
	r.lines = append(r.lines, line)
	return nil
}

// reporting runs a reporter in a bubble.
func reporting(t *testing.T, w *recorder, tell func(say func(pod string, ready bool, message string), r *reporter)) {
	synctest.Test(t, func(t *testing.T) {
		w.begun = time.Now()
		r := newReporter(w, "here", 300*time.Millisecond, time.Now, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.loop.Run(ctx) }()
		defer func() { stop(); <-done }()
		tell(func(name string, ready bool, message string) {
			p := PodReport{Key: store.Key{Name: name}, UID: types.UID(name), Status: corev1.PodStatus{Message: message}}
			if ready {
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			}
			r.pod(&corev1.Pod{}, p)
			synctest.Wait()
		}, r)
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

func want(t *testing.T, w *recorder, lines ...string) {
	t.Helper()
	if got, want := strings.Join(w.lines, "\n"), strings.Join(lines, "\n"); got != want {
		t.Errorf("written:\n%s\nwant:\n%s", got, want)
	}
}

func TestAReadinessThatComesAloneIsWrittenAtOnce(t *testing.T) {
	w := &recorder{}
	reporting(t, w, func(say func(string, bool, string), _ *reporter) { say("a", true, "up") })
	want(t, w, "0s a:up")
}

func TestWhatComesDuringAWriteIsWrittenTogether(t *testing.T) {
	w := &recorder{takes: 5 * time.Millisecond}
	reporting(t, w, func(say func(string, bool, string), _ *reporter) {
		say("a", true, "1")
		say("c", true, "1")
		say("b", true, "1")
	})
	want(t, w, "0s a:1", "5ms b:1 c:1")
}

func TestWhatNobodyWaitsForComesAFewTimesASecondAtMost(t *testing.T) {
	w := &recorder{}
	reporting(t, w, func(say func(string, bool, string), _ *reporter) {
		for i := range 10 {
			say("a", false, fmt.Sprint(i))
			time.Sleep(70 * time.Millisecond)
		}
		say("a", true, "up")
	})
	want(t, w, "300ms a:4", "600ms a:8", "700ms a:up")
}

func TestWhatCouldNotBeWrittenIsWrittenLaterUnlessThereIsNewer(t *testing.T) {
	w := &recorder{fails: 2}
	reporting(t, w, func(say func(string, bool, string), r *reporter) {
		say("a", true, "1")
		say("b", true, "1")
		say("a", true, "2")
		r.event(&corev1.Pod{}, pod.Event{Message: "hello"})
	})
	if got := strings.Join(w.lines, "\n"); !strings.Contains(got, "a:2") || !strings.Contains(got, "b:1") || strings.Contains(got, "a:1") || !strings.Contains(got, "1x hello") {
		t.Errorf("written:\n%s", got)
	}
}

func TestEventsComeTogetherAndAreCounted(t *testing.T) {
	w := &recorder{}
	p := &corev1.Pod{}
	p.Name, p.UID = "a", "a"
	reporting(t, w, func(_ func(string, bool, string), r *reporter) {
		for _, m := range []string{"x", "y", "x", "x"} {
			r.event(p, pod.Event{Message: m})
			time.Sleep(time.Millisecond)
		}
	})
	want(t, w, "250ms 3x x 1x y")
}

func TestAPodWithTooManyEventsIsNotListenedToForAWhile(t *testing.T) {
	b := newEventBook("here")
	p := &corev1.Pod{}
	now := time.Unix(0, 0)
	count := func(tries int) (n int) {
		for i := range tries {
			if b.add(p, pod.Event{Message: fmt.Sprint(i)}, now) {
				n++
			}
		}
		return n
	}
	if n := count(100); n != 25 {
		t.Errorf("%d at once, want 25", n)
	}
	now = now.Add(16 * time.Minute)
	if n := count(100); n != 3 {
		t.Errorf("%d after 16 minutes, want 3", n)
	}
}

func TestAnEventThatComesAgainIsTheSameObject(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		p := n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		for range 3 {
			a.podEvent(p, warning("Odd", "a", "something is odd"))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if got := n.events("web"); !strings.Contains(got, "Warning Odd 3x: something is odd") {
			t.Errorf("events:\n%s", got)
		}
	})
}

func TestWhoWantsASlotWaitsForItsTurn(t *testing.T) {
	var woken []types.UID
	s := newSlots(2, func(uid types.UID) { woken = append(woken, uid) })
	take := func(uid types.UID, want bool) {
		t.Helper()
		if got := s.take(uid); got != want {
			t.Errorf("%s gets a slot: %v, want %v", uid, got, want)
		}
	}
	take("a", true)
	take("b", true)
	take("c", false)
	take("d", false)
	take("c", false) // it stands in line already
	s.give()
	take("e", false) // the slot is kept for c
	s.leave("c")     // which does not want it any more
	take("d", true)
	s.give()
	take("e", true)
	s.give()
	s.give()
	take("f", true)
	take("g", true)
	if got := fmt.Sprint(woken); got != "[c d e]" {
		t.Errorf("woken: %s", got)
	}
}
