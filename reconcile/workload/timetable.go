package workload

import (
	"errors"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// mostMissed is beyond how many missed times something is said about it.
const mostMissed = 100

// A timetable is when a CronJob is to start Jobs, seen from now. Without a time zone it is in that of now.
type timetable struct {
	schedule cron.Schedule
	zone     *time.Location
	now      time.Time
	since    time.Time // the last time for which a Job was started, or when the CronJob came to be
	deadline time.Time // what was due before need not be started any more; zero: all need
}

func readTimetable(c *batchv1.CronJob, now time.Time) (t timetable, err error) {
	t.zone = now.Location()
	if z := c.Spec.TimeZone; z != nil {
		if t.zone, err = time.LoadLocation(*z); err != nil {
			return t, err
		}
	}
	if t.schedule, err = validate.ParseSchedule(c.Spec.Schedule); err != nil {
		return t, err
	}
	t.now, t.since = now.In(t.zone), c.CreationTimestamp.In(t.zone)
	if last := c.Status.LastScheduleTime; last != nil {
		t.since = last.In(t.zone)
	}
	if d := c.Spec.StartingDeadlineSeconds; d != nil {
		t.deadline = t.now.Add(-time.Duration(*d) * time.Second)
	}
	return t, nil
}

// A dueTime is the last time that has come.
type dueTime struct {
	at     time.Time // zero: none has come
	missed int64     // how many came before, about
	since  time.Time // none came between this and at
}

// due is the last time that has come, within the deadline if that counts.
func (t timetable) due(withinDeadline bool) (dueTime, error) {
	since := t.since
	if withinDeadline && t.deadline.After(since) {
		since = t.deadline
	}
	first := t.schedule.Next(since)
	second := t.schedule.Next(first)
	switch {
	case t.now.Before(first):
		return dueTime{since: since}, nil
	case t.now.Before(second):
		return dueTime{at: first, since: since}, nil
	}
	// A schedule can name days that there are not, such as the 31st of February.
	apart := second.Sub(first).Round(time.Second)
	if apart < time.Second {
		return dueTime{}, errors.New("time difference between two schedules is less than 1 second")
	}
	missed := int64(t.now.Sub(first)/apart) + 1
	var last time.Time
	// Not all times between are counted, only those after the last but one by the distance of the first two.
	for at := t.schedule.Next(first.Add(time.Duration(missed-2) * apart)); !at.After(t.now); at = t.schedule.Next(at) {
		last = at
	}
	return dueTime{at: last, missed: missed, since: since}, nil
}

// next is the first time that is still to come.
func (t timetable) next() time.Time {
	from := t.now
	if d, err := t.due(false); err == nil {
		if from = d.at; from.IsZero() {
			from = d.since
		}
	}
	if at := t.schedule.Next(from); at.After(t.now) {
		return at
	}
	return t.schedule.Next(t.now)
}
