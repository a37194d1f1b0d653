package scheme

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Delete is what becomes of o, which is not changed, when somebody asks to delete it: gone, or next, which is o itself if
// nothing is to be written. An object waits for its finalizers, a namespace for its contents, and a pod that runs for its
// grace period. The error is a conflict if a precondition does not hold.
func (k *Kind) Delete(o store.Object, opts metav1.DeleteOptions, now time.Time) (next store.Object, gone bool, err error) {
	if err := k.precondition(o, opts.Preconditions); err != nil {
		return nil, false, err
	}
	next = o.DeepCopyObject().(store.Object)
	next.SetFinalizers(propagation(o.GetFinalizers(), opts))
	if o.GetDeletionTimestamp() == nil {
		k.ending(next, now)
	}
	grace := k.graceLeft(o, opts.GracePeriodSeconds)
	if grace == 0 && !Held(next) {
		return nil, true, nil
	}
	if !end(next, grace, now) && slices.Equal(next.GetFinalizers(), o.GetFinalizers()) {
		return o, false, nil
	}
	return next, false, nil
}

// graceLeft is how long o gets. Of what is ending already, only a shorter time can be asked.
func (k *Kind) graceLeft(o store.Object, asked *int64) int64 {
	if o.GetDeletionTimestamp() == nil {
		return k.grace(o, asked)
	}
	left := int64(0)
	if g := o.GetDeletionGracePeriodSeconds(); g != nil {
		left = *g
	}
	if asked != nil {
		left = min(left, max(*asked, 0))
	}
	return left
}

// Held tells whether finalizers keep o from being deleted.
func Held(o store.Object) bool {
	if n, ok := o.(*corev1.Namespace); ok && len(n.Spec.Finalizers) > 0 {
		return true
	}
	return len(o.GetFinalizers()) > 0
}

// Gone tells whether o, which was just updated, is now to be deleted: it was to end, and nothing holds it any more.
func Gone(o store.Object) bool {
	grace := o.GetDeletionGracePeriodSeconds()
	return o.GetDeletionTimestamp() != nil && grace != nil && *grace == 0 && !Held(o)
}

// end marks o as ending in grace seconds. It tells whether that is news.
func end(o store.Object, grace int64, now time.Time) bool {
	at := metav1.NewTime(stamp(now).Add(time.Duration(grace) * time.Second))
	if was := o.GetDeletionTimestamp(); was != nil {
		left := o.GetDeletionGracePeriodSeconds()
		if left == nil || *left == grace {
			return false
		}
		// The end is counted from when the deletion was first asked for.
		at = metav1.NewTime(was.Add(time.Duration(grace-*left) * time.Second))
	} else if o.GetGeneration() > 0 {
		o.SetGeneration(o.GetGeneration() + 1)
	}
	o.SetDeletionTimestamp(&at)
	o.SetDeletionGracePeriodSeconds(&grace)
	if n, ok := o.(*corev1.Namespace); ok {
		n.Status.Phase = corev1.NamespaceTerminating
	}
	return true
}

func (k *Kind) precondition(o store.Object, p *metav1.Preconditions) error {
	switch {
	case p == nil:
		return nil
	case p.UID != nil && *p.UID != o.GetUID():
		return apierrors.NewConflict(k.Resource(), o.GetName(),
			fmt.Errorf("precondition failed: UID in precondition: %v, UID in object meta: %v", *p.UID, o.GetUID()))
	case p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion():
		return apierrors.NewConflict(k.Resource(), o.GetName(),
			fmt.Errorf("precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v", *p.ResourceVersion, o.GetResourceVersion()))
	}
	return nil
}

// propagation is what the finalizers become by what is asked to happen to the objects that this one owns. In the
// background, which is the default, needs none: the collector finds them when their owner is gone.
func propagation(finalizers []string, opts metav1.DeleteOptions) []string {
	policy := opts.PropagationPolicy
	//lint:ignore SA1019 old clients still send it
	if orphan := opts.OrphanDependents; policy == nil && orphan != nil {
		p := metav1.DeletePropagationBackground
		if *orphan {
			p = metav1.DeletePropagationOrphan
		}
		policy = &p
	}
	if policy == nil {
		return finalizers
	}
	kept := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	switch *policy {
	case metav1.DeletePropagationForeground:
		return append(kept, metav1.FinalizerDeleteDependents)
	case metav1.DeletePropagationOrphan:
		return append(kept, metav1.FinalizerOrphanDependents)
	}
	return kept
}

// podGrace is how many seconds a pod gets to end: none if it is on no node, or has ended.
func podGrace(p *corev1.Pod, asked *int64) int64 {
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return 0
	}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p.Spec.TerminationGracePeriodSeconds != nil {
		grace = *p.Spec.TerminationGracePeriodSeconds
	}
	if asked != nil {
		grace = *asked
	}
	if grace < 0 {
		return 1
	}
	return grace
}
