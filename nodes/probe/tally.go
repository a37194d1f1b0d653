package probe

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
)

// tally keeps count of a check's answers. What is found changes when as many in a row as the probe says are alike.
type tally struct {
	known, passed bool // what is found
	answer        bool // the last one
	row           int  // answers that count, alike and in a row
	early         int  // answers asked for sooner than the probe says
	counted       time.Time
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

func timeout(p *corev1.Probe) time.Duration { return seconds(max(p.TimeoutSeconds, 1)) }

func period(p *corev1.Probe) time.Duration {
	if p.PeriodSeconds < 1 {
		return 10 * time.Second
	}
	return seconds(p.PeriodSeconds)
}

func failures(p *corev1.Probe) int {
	if p.FailureThreshold < 1 {
		return 3
	}
	return int(p.FailureThreshold)
}

// begin is the tally of a check without an answer.
func begin(c pod.Check) tally {
	return tally{known: c.Kind != pod.Startup, passed: c.Passed}
}

// count adds the answer to a question asked at the time. A failure that was asked for early does not count.
func (t tally) count(ok bool, at time.Time, c pod.Check) tally {
	soon := !t.counted.IsZero() && at.Sub(t.counted) < period(c.Probe)
	if !ok && soon {
		t.early++
		return t
	}
	if ok != t.answer {
		t.row = 0
	}
	t.answer, t.counted = ok, at
	t.row++
	need := failures(c.Probe)
	if ok {
		need = max(int(c.Probe.SuccessThreshold), 1)
	}
	if t.row >= need {
		t.known, t.passed = true, ok
	}
	return t
}

// Programs often begin to answer a moment after they were started. So in the first second what has not passed yet is
// asked again soon, then sooner than the probe says no more.
const (
	earlyWindow = time.Second
	earlyFirst  = 20 * time.Millisecond
	earlyExec   = 100 * time.Millisecond // running a command costs a hundred times what a request does
)

// wait is how long after a question asked at the time the next one is due.
func (t tally) wait(c pod.Check, at time.Time) time.Duration {
	regular := t.counted.Add(period(c.Probe)).Sub(at)
	if c.Kind == pod.Liveness || t.passed || t.answer {
		return regular
	}
	d := earlyFirst
	if c.Probe.Exec != nil {
		d = earlyExec
	}
	d <<= min(t.early, 10)
	opened := c.Since.Add(seconds(c.Probe.InitialDelaySeconds))
	if at.Add(d).Sub(opened) > earlyWindow {
		return regular
	}
	return min(d, regular)
}
