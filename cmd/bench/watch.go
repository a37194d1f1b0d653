package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// namespace is where all that is measured lives.
const namespace = "bench"

// A sight is something that a watch is waiting for.
type sight struct {
	what string
	done chan struct{}
	at   time.Time // when it was seen
	err  error
	stop func()
}

type watchFunc func(context.Context, metav1.ListOptions) (watch.Interface, error)

// expect opens a watch, which first tells what there is, and looks until seen says yes. The watch is open when expect returns.
func expect(ctx context.Context, what string, open watchFunc, seen func(watch.Event) bool) (*sight, error) {
	w, err := open(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	s := &sight{what: what, done: make(chan struct{}), stop: w.Stop}
	go func() {
		defer close(s.done)
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				s.err = fmt.Errorf("watch for %s: %v", what, e.Object)
				return
			}
			if seen(e) {
				s.at = time.Now()
				return
			}
		}
		s.err = fmt.Errorf("watch for %s: it ended", what)
	}()
	return s, nil
}

// wait returns when it was seen.
func (s *sight) wait(ctx context.Context, patience time.Duration) (time.Time, error) {
	defer s.stop()
	select {
	case <-s.done:
		return s.at, s.err
	case <-time.After(patience):
		return time.Time{}, fmt.Errorf("no %s within %s", s.what, patience)
	case <-ctx.Done():
		return time.Time{}, errors.Join(fmt.Errorf("no %s", s.what), ctx.Err())
	}
}

// readyPods waits for want pods of an app to be ready, and no others to be there.
func (n *node) readyPods(ctx context.Context, app string, want int) (*sight, error) {
	ready := map[string]bool{}
	open := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector, o.AllowWatchBookmarks = "app="+app, true
		yes := true
		o.SendInitialEvents, o.ResourceVersionMatch = &yes, metav1.ResourceVersionMatchNotOlderThan
		return n.client.CoreV1().Pods(namespace).Watch(ctx, o)
	}
	told := false // of all that there was
	return expect(ctx, fmt.Sprintf("%d ready pods of %s", want, app), open, func(e watch.Event) bool {
		p, ok := e.Object.(*corev1.Pod)
		switch {
		case !ok:
			return false
		case e.Type == watch.Bookmark:
			told = told || p.Annotations[metav1.InitialEventsAnnotationKey] == "true"
		case e.Type == watch.Deleted:
			delete(ready, p.Name)
		default:
			ready[p.Name] = podReady(p)
		}
		return told && len(ready) == want && count(ready) == want
	})
}

func count(ready map[string]bool) int {
	n := 0
	for _, r := range ready {
		if r {
			n++
		}
	}
	return n
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}
