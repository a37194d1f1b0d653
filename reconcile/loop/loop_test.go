package loop

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// run starts l in the bubble and ends it with the test.
func run[K comparable](t *testing.T, l *Loop[K]) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func TestAKeyWokenOftenIsDoneOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		l := New("test", func(context.Context, string) (time.Duration, error) { n.Add(1); return 0, nil }, Options{})
		l.Wake("a", "a")
		l.Wake("a")
		run(t, l)
		synctest.Wait()
		if n.Load() != 1 {
			t.Errorf("done %d times, want 1", n.Load())
		}
	})
}

func TestAKeyWokenWhileItIsDoneIsDoneAgainAndNeverTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, at atomic.Int32
		l := New("test", func(context.Context, string) (time.Duration, error) {
			if at.Add(1) > 1 {
				t.Error("the same key twice at once")
			}
			time.Sleep(time.Second)
			at.Add(-1)
			n.Add(1)
			return 0, nil
		}, Options{Workers: 4})
		run(t, l)
		l.Wake("a")
		synctest.Wait()
		l.Wake("a")
		l.Wake("a")
		time.Sleep(time.Minute)
		if n.Load() != 2 {
			t.Errorf("done %d times, want 2", n.Load())
		}
	})
}

func TestFailuresAreTriedAgainLessAndLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		l := New("test", func(context.Context, string) (time.Duration, error) {
			at = append(at, time.Since(start))
			if len(at) < 6 {
				return 0, errors.New("no")
			}
			return 0, nil
		}, Options{Min: time.Second, Max: 4 * time.Second})
		run(t, l)
		l.Wake("a")
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 1, 3, 7, 11, 15}
		for i := range want {
			if i >= len(at) || at[i] != want[i]*time.Second {
				t.Fatalf("tried at %v, want %v seconds", at, want)
			}
		}
		if len(at) != len(want) {
			t.Fatalf("tried at %v, want %v seconds", at, want)
		}
	})
}

func TestAWakeReplacesATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		l := New("test", func(context.Context, string) (time.Duration, error) {
			if n.Add(1) == 1 {
				return time.Minute, nil
			}
			return 0, nil
		}, Options{})
		run(t, l)
		l.Wake("a")
		time.Sleep(time.Second)
		l.Wake("a")
		time.Sleep(time.Hour)
		if n.Load() != 2 {
			t.Errorf("done %d times, want 2: the timer should be void", n.Load())
		}
	})
}

func TestWorkersShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var last atomic.Int64
		l := New("test", func(context.Context, int) (time.Duration, error) {
			time.Sleep(time.Second)
			last.Store(int64(time.Since(start)))
			return 0, nil
		}, Options{Workers: 2})
		run(t, l)
		for i := range 10 {
			l.Wake(i)
		}
		time.Sleep(time.Minute)
		if got := time.Duration(last.Load()); got != 5*time.Second {
			t.Errorf("10 seconds of work by 2 workers took %s", got)
		}
	})
}

func TestStepIsDoneInTheOrderOfWakingByTheCallersClock(t *testing.T) {
	now := time.Unix(0, 0)
	var got []string
	again := map[string]time.Duration{"a": 2 * time.Second, "b": time.Second}
	l := New("test", func(_ context.Context, k string) (time.Duration, error) {
		got = append(got, k)
		d := again[k]
		delete(again, k)
		return d, nil
	}, Options{Now: func() time.Time { return now }})
	l.Wake("a", "b", "c")
	for l.Step(t.Context()) {
	}
	for {
		at, ok := l.Next()
		if !ok {
			break
		}
		now = at
		l.Step(t.Context())
	}
	want := "a b c b a"
	var s string
	for i, k := range got {
		if i > 0 {
			s += " "
		}
		s += k
	}
	if s != want {
		t.Errorf("order %q, want %q", s, want)
	}
}
