package delivery

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/health"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// How a rollout is shown.
const (
	stuckFor = 3 * time.Second // something that waiting will not mend is waited for no longer than this
	tick     = time.Second     // between lines of one object that is on its way
)

// show writes how the rollout of a plan goes, until it is healthy, stuck, superseded or out of time, or ctx ends.
func (d *Delivery) show(ctx context.Context, key store.Key, plan *apply.Plan, started time.Time, w io.Writer) {
	timeout := defaultTimeout
	if g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), key.Namespace, key.Name); ok && g.Spec.Timeout != nil {
		timeout = g.Spec.Timeout.Duration
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	v := newView(plan, started, w)
	at := d.Store.Snapshot().Revision()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		ill, current, more := d.news(key, at)
		if g, ok := store.Get[*v1alpha1.GitSource](d.Store.Snapshot(), key.Namespace, key.Name); !ok || g.Status.Applied == nil || g.Status.Applied.Hash != plan.Commit.Hash.String() {
			fmt.Fprintln(w, "superseded by another commit: its push shows how it goes on")
			return
		}
		if current && v.update(d.Store.Snapshot(), ill, d.Now()) {
			return
		}
		select {
		case <-ctx.Done():
			v.outOfTime(timeout)
			return
		case <-more:
		case <-ticker.C:
		}
	}
}

// A view is what has been shown of one rollout.
type view struct {
	w       io.Writer
	started time.Time
	objects []store.Key // with replicas, that the plan has touched
	shown   map[store.Key]string
	shownAt map[store.Key]time.Time
	stuck   time.Time // since when
	last    []Ailment
}

func newView(plan *apply.Plan, started time.Time, w io.Writer) *view {
	v := &view{w: w, started: started, shown: map[store.Key]string{}, shownAt: map[store.Key]time.Time{}}
	for _, i := range plan.Items {
		if i.Op == apply.Create || i.Op == apply.Update || i.Op == apply.Replace {
			v.objects = append(v.objects, i.Key)
		}
	}
	return v
}

// update writes what is new, and tells whether there is no more to come.
func (v *view) update(s *store.Snapshot, ill []Ailment, now time.Time) bool {
	v.last = ill
	status := map[store.Key]health.Status{}
	for _, a := range ill {
		status[a.Key] = a.Status
	}
	for _, k := range v.objects {
		st, isIll := status[k]
		if !isIll {
			st = health.At(s, k)
		}
		if st.Want > 0 || isIll {
			v.line(k, st, now)
		}
	}
	if len(ill) == 0 {
		fmt.Fprintf(v.w, "healthy in %s\n", seconds(now.Sub(v.started)))
		return true
	}
	for _, a := range ill {
		if _, shown := v.shown[a.Key]; !shown && a.Status.Cause != "" {
			v.line(a.Key, a.Status, now)
		}
	}
	return v.givenUp(ill, now)
}

// line writes one object, unless that is what was last written of it, or it was just written and is only on its way.
func (v *view) line(k store.Key, st health.Status, now time.Time) {
	text := st.String()
	quiet := st.State == health.Progressing && st.Cause == "" && now.Sub(v.shownAt[k]) < tick
	if first := v.shownAt[k].IsZero(); first && st.State == health.Progressing && st.Cause == "" {
		v.shownAt[k] = now // it is on its way: what was just written needs no line
		return
	}
	if v.shown[k] == text || quiet {
		return
	}
	v.shown[k], v.shownAt[k] = text, now
	fmt.Fprintf(v.w, "%s %s   %s   %s\n", strings.ToLower(k.Kind.Kind), name(k), text, seconds(now.Sub(v.started)))
}

func name(k store.Key) string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// givenUp ends the wait for something that waiting will not mend.
func (v *view) givenUp(ill []Ailment, now time.Time) bool {
	if !ill[0].Status.Stuck {
		v.stuck = time.Time{}
		return false
	}
	if v.stuck.IsZero() {
		v.stuck = now
	}
	if now.Sub(v.stuck) < stuckFor {
		return false
	}
	fmt.Fprintf(v.w, "not healthy: %s %s\n", ill[0].Key, ill[0].Status)
	fmt.Fprintln(v.w, "the commit is applied, and Mainstay goes on trying; see: mainstay status")
	return true
}

func (v *view) outOfTime(timeout time.Duration) {
	if len(v.last) > 0 {
		fmt.Fprintf(v.w, "not healthy within %s: %s %s\n", timeout, v.last[0].Key, v.last[0].Status)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
