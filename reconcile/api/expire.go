package api

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// An event is kept for this long after it happened last.
const eventsKept = time.Hour

// expire removes events that have had their time, in one transaction. It looks first: when there are none, nothing is
// written.
func expire(ctx context.Context, s store.Store, now time.Time) error {
	var over []store.Key
	snapshot := s.Snapshot()
	for e := range store.List[*corev1.Event](snapshot) {
		if now.Sub(happened(e)) > eventsKept {
			over = append(over, snapshot.Key(e))
		}
	}
	if len(over) == 0 {
		return nil
	}
	_, err := s.Update(ctx, fmt.Sprintf("%d events are older than %s", len(over), eventsKept), func(tx *store.Tx) error {
		for _, k := range over {
			o, ok := tx.Get(k)
			if !ok || now.Sub(happened(o.(*corev1.Event))) <= eventsKept {
				continue // removed, or happened again
			}
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// happened is when e did last.
func happened(e *corev1.Event) time.Time {
	last := e.CreationTimestamp.Time
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if t.After(last) {
			last = t
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	return last
}
