package runtime

import (
	"context"
	"iter"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// A Feed tells listeners of pods, as Runtime.Events promises it. Its zero value is ready; it is safe for concurrent use. A
// pod that is named again before a listener came to it is named once.
type Feed struct {
	mu        sync.Mutex
	listeners map[*listener]bool
}

type listener struct {
	pods  []types.UID
	woken chan struct{} // has one token while there are some
}

// Tell names a pod to all who listen.
func (f *Feed) Tell(pod types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.listeners {
		l.add(pod)
	}
}

func (l *listener) add(pod types.UID) {
	if !slices.Contains(l.pods, pod) {
		l.pods = append(l.pods, pod)
	}
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// Listen yields what here returns, which is called once the listener stands, then each pod that is told, and at the end
// the error of ctx.
func (f *Feed) Listen(ctx context.Context, here func() []types.UID) iter.Seq2[types.UID, error] {
	return func(yield func(types.UID, error) bool) {
		l := &listener{woken: make(chan struct{}, 1)}
		f.enter(l)
		defer f.leave(l)
		for _, pod := range here() {
			if !yield(pod, nil) {
				return
			}
		}
		for {
			select {
			case <-ctx.Done():
				yield("", ctx.Err())
				return
			case <-l.woken:
			}
			for _, pod := range f.take(l) {
				if !yield(pod, nil) {
					return
				}
			}
		}
	}
}

func (f *Feed) enter(l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners == nil {
		f.listeners = map[*listener]bool{}
	}
	f.listeners[l] = true
}

func (f *Feed) leave(l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, l)
}

func (f *Feed) take(l *listener) []types.UID {
	f.mu.Lock()
	defer f.mu.Unlock()
	pods := l.pods
	l.pods = nil
	return pods
}
