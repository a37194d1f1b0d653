package workload

import (
	"math/rand/v2"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestOfTheTimesThatHaveComeTheLastIsDue(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		name, schedule, since, now string
		want, next                 string
		missed                     int64
	}{
		{"none yet", "0 * * * *", "2026-01-02 11:00:30", "2026-01-02 11:59:59", "", "2026-01-02 12:00:00", 0},
		{"exactly now", "0 * * * *", "2026-01-02 11:00:30", "2026-01-02 12:00:00", "2026-01-02 12:00:00", "2026-01-02 13:00:00", 0},
		{"the last of three", "0 * * * *", "2026-01-02 11:00:30", "2026-01-02 14:30:00", "2026-01-02 14:00:00", "2026-01-02 15:00:00", 3},
		{"every ninety minutes", "@every 1h30m", "2026-01-02 11:00:00", "2026-01-02 14:10:00", "2026-01-02 14:00:00", "2026-01-02 15:30:00", 2},
		{"over a weekend", "30 6-16/4 * * 1-5", "2026-01-02 15:00:00", "2026-01-05 07:00:00", "2026-01-05 06:30:00", "2026-01-05 10:30:00", 0},
		{"a leap day", "0 0 29 2 *", "2026-01-02 15:00:00", "2026-01-05 07:00:00", "", "2028-02-29 00:00:00", 0},
	} {
		cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at(c.since))}, Spec: batchv1.CronJobSpec{Schedule: c.schedule}}
		table, err := readTimetable(cron, at(c.now))
		if err != nil {
			t.Fatal(err)
		}
		due, err := table.due(true)
		got := ""
		if !due.at.IsZero() {
			got = due.at.Format(time.DateTime)
		}
		if err != nil || got != c.want || due.missed != c.missed {
			t.Errorf("%s: %q is due, %d missed (%v), want %q, %d", c.name, got, due.missed, err, c.want, c.missed)
		}
		if next := table.next().Format(time.DateTime); next != c.next {
			t.Errorf("%s: next is %s, want %s", c.name, next, c.next)
		}
	}
}

func TestAJobStartsOnceForEachTimeWhateverCrashes(t *testing.T) {
	s := scheme.New(scheme.Options{})
	rng := rand.New(rand.NewPCG(7, 7))
	now := controltest.Now
	st := controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: v1
kind: Namespace
metadata: {name: hello}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick, namespace: hello, uid: cron, creationTimestamp: 2026-01-02T12:00:00Z}
spec:
  schedule: '*/5 * * * *'
  successfulJobsHistoryLimit: 2
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: work, image: 'hello:0'}]}}}}
`)...)
	var engine *control.Engine
	begin := func() {
		opts := control.Options{Now: func() time.Time { return now }, Rand: rng}
		engine = control.NewEngine(st, control.NewCarrier(s), opts, CronJob{})
	}
	begin()
	started, from := map[string]int{}, st.Snapshot().Revision()
	for range 24 * 60 {
		for engine.Step(t.Context()) {
		}
		if rng.IntN(10) == 0 {
			begin()
		}
		for j := range store.List[*batchv1.Job](st.Snapshot()) {
			if jobFinished(j) || rng.IntN(3) > 0 {
				continue
			}
			over := j.DeepCopy()
			over.Status = batchv1.JobStatus{
				StartTime: &metav1.Time{Time: j.CreationTimestamp.Time}, CompletionTime: &metav1.Time{Time: now},
				Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}},
			}
			if _, err := st.Update(t.Context(), "job-controller", func(tx *store.Tx) error { return tx.Update(over) }); err != nil {
				t.Fatal(err)
			}
		}
		b, err := st.Since(from, store.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range b.Deltas {
			for _, c := range d.Changes {
				if j, is := c.New.(*batchv1.Job); is && c.Old == nil {
					started[j.Name]++
				}
			}
		}
		from = b.Upto
		now = now.Add(time.Minute)
	}
	for name, n := range started {
		if n != 1 {
			t.Errorf("%s was started %d times", name, n)
		}
	}
	if want := 24*60/5 - 1; len(started) != want {
		t.Errorf("%d Jobs were started in a day, want %d", len(started), want)
	}
	if n := st.Snapshot().Len(jobKind); n > 5 {
		t.Errorf("%d Jobs are kept", n)
	}
}
