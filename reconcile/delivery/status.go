package delivery

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Conditions of a GitSource.
const (
	condFetched = "Fetched"
	condApplied = "Applied"
	condHealthy = "Healthy"
	condReady   = "Ready"
)

// edit writes what fn makes of a source's status, if that is news.
func (d *Delivery) edit(tx *store.Tx, key store.Key, fn func(*v1alpha1.GitSource)) error {
	live, ok := store.Get[*v1alpha1.GitSource](tx.Snapshot, key.Namespace, key.Name)
	if !ok {
		return nil
	}
	next := live.DeepCopy()
	fn(next)
	next.Status.ObservedGeneration = live.Generation
	if equality.Semantic.DeepEqual(live.Status, next.Status) {
		return nil
	}
	d.Scheme.Of(next).PrepareInside(next, live)
	return tx.Update(next)
}

func set(g *v1alpha1.GitSource, kind string, status metav1.ConditionStatus, reason, message string, now time.Time) {
	const longest = 32 << 10 // what Kubernetes takes
	meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message[:min(len(message), longest)],
		ObservedGeneration: g.Generation, LastTransitionTime: metav1.NewTime(now),
	})
}

func suspended(g *v1alpha1.GitSource, now time.Time) {
	set(g, condReady, metav1.ConditionUnknown, "Suspended", "It is suspended: nothing is fetched, and nothing put back.", now)
}

// notFetched says why the repository could not be read. That nothing was pushed yet is no fault.
func notFetched(g *v1alpha1.GitSource, err error, now time.Time) {
	reason, status := "FetchFailed", metav1.ConditionFalse
	if errors.Is(err, repo.ErrEmpty) && strings.HasPrefix(g.Spec.URL, "builtin:") {
		reason, status = "NothingPushed", metav1.ConditionUnknown
	}
	set(g, condFetched, status, reason, err.Error(), now)
	set(g, condReady, status, reason, err.Error(), now)
}

func commitOf(c gitsource.Commit, now time.Time) *v1alpha1.GitCommit {
	return &v1alpha1.GitCommit{Hash: c.Hash.String(), Subject: c.Subject, Author: c.Author, Time: metav1.NewTime(now.Truncate(time.Second))}
}

func fetched(g *v1alpha1.GitSource, c gitsource.Commit, now time.Time) {
	if g.Status.Fetched == nil || g.Status.Fetched.Hash != c.Hash.String() {
		g.Status.Fetched = commitOf(c, now)
	}
	set(g, condFetched, metav1.ConditionTrue, "Fetched", "Commit "+c.Hash.Short()+" is fetched.", now)
	ready(g, now)
}

func notApplied(g *v1alpha1.GitSource, c gitsource.Commit, err error, now time.Time) {
	fetched(g, c, now)
	reason := "ApplyFailed"
	switch {
	case errors.Is(err, apply.ErrPrune):
		reason = "PruneNotConfirmed"
		err = fmt.Errorf("%w; to do so, annotate the source: %s=%s", err, ConfirmAnnotation, c.Hash)
	case apply.IsRefusal(err):
		reason = "Invalid"
	}
	set(g, condApplied, metav1.ConditionFalse, reason, "Commit "+c.Hash.Short()+": "+err.Error(), now)
	ready(g, now)
}

// applied notes that a commit is applied, and by how many objects the source has grown with it.
func applied(g *v1alpha1.GitSource, c gitsource.Commit, grown int, now time.Time) {
	fetched(g, c, now)
	g.Status.Applied = commitOf(c, now)
	g.Status.AppliedGeneration = g.Generation
	g.Status.Objects += int32(grown)
	set(g, condApplied, metav1.ConditionTrue, "Applied", "Commit "+c.Hash.Short()+" is applied.", now)
	set(g, condHealthy, metav1.ConditionUnknown, "Progressing", "It is being rolled out.", now)
	ready(g, now)
}

// judged notes the health of what is applied.
func judged(g *v1alpha1.GitSource, ill []Ailment, now time.Time) {
	if g.Status.Applied == nil {
		return
	}
	if len(ill) == 0 {
		set(g, condHealthy, metav1.ConditionTrue, "Healthy", "All objects are healthy.", now)
		if g.Status.Healthy == nil || g.Status.Healthy.Hash != g.Status.Applied.Hash {
			h := *g.Status.Applied
			h.Time = metav1.NewTime(now.Truncate(time.Second))
			g.Status.Healthy = &h
		}
		ready(g, now)
		return
	}
	worst := ill[0]
	text := worst.Key.String() + " " + worst.Status.String()
	if len(ill) > 1 {
		text = fmt.Sprintf("%s (and %d more that are not healthy)", text, len(ill)-1)
	}
	reason, status := "Progressing", metav1.ConditionUnknown
	if badness(worst.Status) >= 2 {
		reason, status = "Degraded", metav1.ConditionFalse
	}
	set(g, condHealthy, status, reason, text, now)
	ready(g, now)
}

// ready sums the other conditions up: the first that is not true speaks for all. Of a source that is suspended nothing is
// known, whatever was found before.
func ready(g *v1alpha1.GitSource, now time.Time) {
	if g.Spec.Suspend {
		suspended(g, now)
		return
	}
	for _, kind := range []string{condFetched, condApplied, condHealthy} {
		c := meta.FindStatusCondition(g.Status.Conditions, kind)
		if c == nil {
			set(g, condReady, metav1.ConditionUnknown, "Progressing", "It is not "+strings.ToLower(kind)+" yet.", now)
			return
		}
		if c.Status != metav1.ConditionTrue {
			set(g, condReady, c.Status, c.Reason, c.Message, now)
			return
		}
	}
	set(g, condReady, metav1.ConditionTrue, "Healthy", "Commit "+g.Status.Applied.Hash[:7]+" is applied and healthy.", now)
}
