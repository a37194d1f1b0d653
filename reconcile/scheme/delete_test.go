package scheme

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestDeletion(t *testing.T) {
	s := New(Options{})
	grace := func(n int64) metav1.DeleteOptions { return metav1.DeleteOptions{GracePeriodSeconds: &n} }
	policy := func(p metav1.DeletionPropagation) metav1.DeleteOptions {
		return metav1.DeleteOptions{PropagationPolicy: &p}
	}
	orphan := true
	const (
		gone = "gone"
		same = "same"
	)
	for _, row := range []struct {
		says, yaml string
		opts       metav1.DeleteOptions
		want       string // gone, same, or what is left
	}{
		{"most things go at once", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`, metav1.DeleteOptions{}, gone},
		{"whatever grace is asked for them", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`, grace(30), gone},
		{"a pod that is on no node goes at once", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {terminationGracePeriodSeconds: 30}}`, metav1.DeleteOptions{}, gone},
		{"a pod that has ended too", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: n}, status: {phase: Succeeded}}`, metav1.DeleteOptions{}, gone},
		{"a pod that runs gets its grace period", `{apiVersion: v1, kind: Pod, metadata: {name: p, generation: 2}, spec: {nodeName: n, terminationGracePeriodSeconds: 60}}`, metav1.DeleteOptions{},
			`{apiVersion: v1, kind: Pod, metadata: {name: p, generation: 3, deletionTimestamp: "2026-01-01T12:01:00Z", deletionGracePeriodSeconds: 60}, spec: {nodeName: n, terminationGracePeriodSeconds: 60}}`},
		{"or another that is asked for", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: n}}`, grace(5),
			`{apiVersion: v1, kind: Pod, metadata: {name: p, deletionTimestamp: "2026-01-01T12:00:05Z", deletionGracePeriodSeconds: 5}, spec: {nodeName: n}}`},
		{"a negative one is a second", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: n}}`, grace(-1),
			`{apiVersion: v1, kind: Pod, metadata: {name: p, deletionTimestamp: "2026-01-01T12:00:01Z", deletionGracePeriodSeconds: 1}, spec: {nodeName: n}}`},
		{"none at all is by force", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: n}}`, grace(0), gone},
		{"asking again changes nothing", `{apiVersion: v1, kind: Pod, metadata: {name: p, deletionTimestamp: "2026-01-01T12:00:20Z", deletionGracePeriodSeconds: 30}, spec: {nodeName: n}}`, metav1.DeleteOptions{}, same},
		{"nor does asking for more", `{apiVersion: v1, kind: Pod, metadata: {name: p, deletionTimestamp: "2026-01-01T12:00:20Z", deletionGracePeriodSeconds: 30}, spec: {nodeName: n}}`, grace(60), same},
		{"less is counted from the first time", `{apiVersion: v1, kind: Pod, metadata: {name: p, generation: 3, deletionTimestamp: "2026-01-01T12:00:20Z", deletionGracePeriodSeconds: 30}, spec: {nodeName: n}}`, grace(20),
			`{apiVersion: v1, kind: Pod, metadata: {name: p, generation: 3, deletionTimestamp: "2026-01-01T12:00:10Z", deletionGracePeriodSeconds: 20}, spec: {nodeName: n}}`},
		{"force works on what is ending", `{apiVersion: v1, kind: Pod, metadata: {name: p, deletionTimestamp: "2026-01-01T12:00:20Z", deletionGracePeriodSeconds: 30}, spec: {nodeName: n}}`, grace(0), gone},
		{"what nothing holds any more goes", `{apiVersion: v1, kind: Pod, metadata: {name: p, deletionTimestamp: "2026-01-01T12:00:20Z", deletionGracePeriodSeconds: 0}, spec: {nodeName: n}}`, metav1.DeleteOptions{}, gone},
		{"finalizers hold an object", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, finalizers: [a/b]}}`, metav1.DeleteOptions{},
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, finalizers: [a/b], deletionTimestamp: "2026-01-01T12:00:00Z", deletionGracePeriodSeconds: 0}}`},
		{"also a pod by force", `{apiVersion: v1, kind: Pod, metadata: {name: p, finalizers: [a/b]}, spec: {nodeName: n}}`, grace(0),
			`{apiVersion: v1, kind: Pod, metadata: {name: p, finalizers: [a/b], deletionTimestamp: "2026-01-01T12:00:00Z", deletionGracePeriodSeconds: 0}, spec: {nodeName: n}}`},
		{"in the foreground, what it owns goes first", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, generation: 1}}`, policy(metav1.DeletePropagationForeground),
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, generation: 2, finalizers: [foregroundDeletion], deletionTimestamp: "2026-01-01T12:00:00Z", deletionGracePeriodSeconds: 0}}`},
		{"orphans are let go first", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [a/b]}}`, policy(metav1.DeletePropagationOrphan),
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [a/b, orphan], deletionTimestamp: "2026-01-01T12:00:00Z", deletionGracePeriodSeconds: 0}}`},
		//lint:ignore SA1019 old clients still send it
		{"also for those who ask in the old way", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}`, metav1.DeleteOptions{OrphanDependents: &orphan},
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [orphan], deletionTimestamp: "2026-01-01T12:00:00Z", deletionGracePeriodSeconds: 0}}`},
		{"one may change one's mind", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [foregroundDeletion, a/b], deletionTimestamp: "2026-01-01T11:00:00Z", deletionGracePeriodSeconds: 0}}`, policy(metav1.DeletePropagationOrphan),
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [a/b, orphan], deletionTimestamp: "2026-01-01T11:00:00Z", deletionGracePeriodSeconds: 0}}`},
		{"in the background nothing waits", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [foregroundDeletion]}}`, policy(metav1.DeletePropagationBackground), gone},
		{"asking twice in the foreground changes nothing", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, finalizers: [foregroundDeletion], deletionTimestamp: "2026-01-01T11:00:00Z", deletionGracePeriodSeconds: 0}}`, policy(metav1.DeletePropagationForeground), same},
		{"a namespace waits for its contents", `{apiVersion: v1, kind: Namespace, metadata: {name: n}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`, metav1.DeleteOptions{},
			`{apiVersion: v1, kind: Namespace, metadata: {name: n, deletionTimestamp: "2026-01-01T12:00:00Z", deletionGracePeriodSeconds: 0}, spec: {finalizers: [kubernetes]}, status: {phase: Terminating}}`},
		{"which is not said twice", `{apiVersion: v1, kind: Namespace, metadata: {name: n, deletionTimestamp: "2026-01-01T11:00:00Z", deletionGracePeriodSeconds: 0}, spec: {finalizers: [kubernetes]}, status: {phase: Terminating}}`, metav1.DeleteOptions{}, same},
		{"and goes when it is empty", `{apiVersion: v1, kind: Namespace, metadata: {name: n}}`, metav1.DeleteOptions{}, gone},
	} {
		t.Run(row.says, func(t *testing.T) {
			o := object(t, s, row.yaml)
			before := text(t, o)
			next, isGone, err := s.Of(o).Delete(o, row.opts, noon())
			if err != nil {
				t.Fatal(err)
			}
			got := gone
			switch {
			case isGone && next != nil:
				t.Error("it is gone and yet there")
			case next == o:
				got = same
			case !isGone:
				got = text(t, next)
			}
			want := row.want
			if want != gone && want != same {
				want = text(t, object(t, s, want))
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if text(t, o) != before {
				t.Error("the stored object was changed")
			}
		})
	}
}

func TestDeletionOfAnother(t *testing.T) {
	s := New(Options{})
	o := object(t, s, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, uid: u, resourceVersion: "5"}}`)
	for _, row := range []struct {
		says     string
		uid, rev string
		conflict bool
	}{
		{"the same", "u", "5", false}, {"nothing asked", "", "", false}, {"another of that name", "v", "", true}, {"one that changed", "u", "4", true},
	} {
		t.Run(row.says, func(t *testing.T) {
			p := &metav1.Preconditions{}
			if row.uid != "" {
				p.UID = (*types.UID)(&row.uid)
			}
			if row.rev != "" {
				p.ResourceVersion = &row.rev
			}
			_, isGone, err := s.Of(o).Delete(o, metav1.DeleteOptions{Preconditions: p}, noon())
			if apierrors.IsConflict(err) != row.conflict || isGone == row.conflict {
				t.Errorf("gone %v, error %v", isGone, err)
			}
		})
	}
}

func TestWhatIsToGoAfterAnUpdate(t *testing.T) {
	s := New(Options{})
	for yaml, want := range map[string]bool{
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`:                                                                                                             false,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 0}}`:                                   true,
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 0, finalizers: [a]}}`:                  false,
		`{apiVersion: v1, kind: Pod, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 30}}`:                                        false,
		`{apiVersion: v1, kind: Namespace, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 0}, spec: {finalizers: [kubernetes]}}`: false,
		`{apiVersion: v1, kind: Namespace, metadata: {name: c, deletionTimestamp: "2026-01-01T00:00:00Z", deletionGracePeriodSeconds: 0}}`:                                   true,
	} {
		if got := Gone(object(t, s, yaml)); got != want {
			t.Errorf("%v of %s", got, yaml)
		}
	}
}
