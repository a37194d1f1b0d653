package agent

import (
	"context"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Local writes into a store in the same process.
type Local struct {
	Store store.Store
	UID   func() types.UID // makes one for a new object
	Now   func() time.Time
	// Stamp, if not nil, is shown what is to be written, and may write into its metadata who did.
	Stamp func(store.Object)
}

// Write implements Writer.
func (l *Local) Write(ctx context.Context, r Report) error {
	_, err := l.Store.Update(ctx, about(r), func(tx *store.Tx) error {
		for i := range r.Pods {
			if err := l.pod(tx, &r.Pods[i]); err != nil {
				return err
			}
		}
		for _, m := range r.Mirror {
			if err := l.mirror(tx, m); err != nil {
				return err
			}
		}
		for _, e := range r.Events {
			if err := l.event(tx, e); err != nil {
				return err
			}
		}
		if r.Node != nil {
			if err := l.node(tx, r.Node); err != nil {
				return err
			}
		}
		if r.Images != nil {
			if err := l.images(tx, r.Images); err != nil {
				return err
			}
		}
		for _, f := range r.Folders {
			if err := l.folder(tx, f); err != nil {
				return err
			}
		}
		if r.Lease != nil {
			return l.lease(tx, r.Lease)
		}
		return nil
	})
	return err
}

// pod writes the status of a pod, or removes one of which nothing is left.
func (l *Local) pod(tx *store.Tx, r *PodReport) error {
	old, ok := store.Get[*corev1.Pod](tx.Snapshot, r.Key.Namespace, r.Key.Name)
	if !ok || old.UID != r.UID {
		return nil
	}
	if r.Gone && len(old.Finalizers) == 0 {
		return tx.Delete(tx.Key(old))
	}
	next := *old // all but what is set below is shared with it
	next.ObjectMeta = *old.ObjectMeta.DeepCopy()
	next.Status = pod.Merge(r.Status, old.Status)
	if r.Gone {
		none := int64(0)
		next.DeletionGracePeriodSeconds = &none
	}
	if equality.Semantic.DeepEqual(old.Status, next.Status) && equality.Semantic.DeepEqual(old.ObjectMeta, next.ObjectMeta) {
		return nil
	}
	return l.update(tx, &next)
}

// mirror makes what shows a pod of the node's own.
func (l *Local) mirror(tx *store.Tx, m *corev1.Pod) error {
	if ns, ok := store.Get[*corev1.Namespace](tx.Snapshot, "", m.Namespace); !ok || ns.DeletionTimestamp != nil {
		return nil
	}
	if _, ok := tx.Get(tx.Key(m)); ok {
		return nil
	}
	return l.create(tx, m.DeepCopy())
}

func (l *Local) update(tx *store.Tx, o store.Object) error {
	if l.Stamp != nil {
		l.Stamp(o)
	}
	return tx.Update(o)
}

func (l *Local) create(tx *store.Tx, o store.Object) error {
	o.SetUID(l.UID())
	o.SetCreationTimestamp(metav1.NewTime(l.Now().Truncate(time.Second)))
	if l.Stamp != nil {
		l.Stamp(o)
	}
	return tx.Create(o)
}

// event adds an event, or counts up the one that is there. What is about an object whose namespace is gone or going is
// left out: nobody would remove it again.
func (l *Local) event(tx *store.Tx, e *corev1.Event) error {
	if ns, ok := store.Get[*corev1.Namespace](tx.Snapshot, "", e.Namespace); !ok || ns.DeletionTimestamp != nil {
		return nil
	}
	old, ok := store.Get[*corev1.Event](tx.Snapshot, e.Namespace, e.Name)
	if !ok {
		return l.create(tx, e.DeepCopy())
	}
	next := old.DeepCopy()
	next.Count += e.Count
	next.LastTimestamp, next.Message = e.LastTimestamp, e.Message
	return l.update(tx, next)
}

// node adds the node, or brings it up to date: its own labels and its status, save conditions that others decide about.
func (l *Local) node(tx *store.Tx, n *corev1.Node) error {
	old, ok := store.Get[*corev1.Node](tx.Snapshot, "", n.Name)
	if !ok {
		return l.create(tx, n.DeepCopy())
	}
	next := old.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, n.Labels)
	if n.Spec.PodCIDR != "" {
		next.Spec.PodCIDR, next.Spec.PodCIDRs = n.Spec.PodCIDR, n.Spec.PodCIDRs
	}
	was := next.Status.Conditions
	had := next.Status.Capacity
	next.Status = *n.Status.DeepCopy()
	offer(&next.Status, had)
	next.Status.Images, next.Status.VolumesInUse, next.Status.VolumesAttached = old.Status.Images, old.Status.VolumesInUse, old.Status.VolumesAttached
	next.Status.Conditions = mergeNodeConditions(next.Status.Conditions, was)
	if equality.Semantic.DeepEqual(old, next) {
		return nil
	}
	return l.update(tx, next)
}

// images writes which images the node has into its status.
func (l *Local) images(tx *store.Tx, here *NodeImages) error {
	old, ok := store.Get[*corev1.Node](tx.Snapshot, "", here.Node)
	if !ok || equality.Semantic.DeepEqual(old.Status.Images, here.Images) {
		return nil
	}
	next := old.DeepCopy()
	next.Status.Images = here.Images
	return l.update(tx, next)
}

// mergeNodeConditions is ours, with the time of those that are as they were, and theirs.
func mergeNodeConditions(ours, theirs []corev1.NodeCondition) []corev1.NodeCondition {
	own := map[corev1.NodeConditionType]bool{}
	for i := range ours {
		own[ours[i].Type] = true
		for _, t := range theirs {
			if t.Type == ours[i].Type && t.Status == ours[i].Status {
				ours[i].LastTransitionTime = t.LastTransitionTime
			}
		}
	}
	for _, t := range theirs {
		if !own[t.Type] {
			ours = append(ours, t)
		}
	}
	return ours
}

func (l *Local) lease(tx *store.Tx, n *coordinationv1.Lease) error {
	old, ok := store.Get[*coordinationv1.Lease](tx.Snapshot, n.Namespace, n.Name)
	if !ok {
		return l.create(tx, n.DeepCopy())
	}
	next := old.DeepCopy()
	n.Spec.DeepCopyInto(&next.Spec)
	return l.update(tx, next)
}

// about says what a report is about.
func about(r Report) string {
	switch {
	case len(r.Pods) == 1:
		return fmt.Sprintf("status of %s", r.Pods[0].Key)
	case len(r.Mirror) > 0:
		return fmt.Sprintf("%d pods of the node's own", len(r.Mirror))
	case len(r.Pods) > 1:
		return fmt.Sprintf("status of %d pods", len(r.Pods))
	case len(r.Events) > 0:
		return fmt.Sprintf("%d events of the node", len(r.Events))
	case len(r.Folders) > 0:
		return "the folders of volumes are removed"
	case r.Node != nil:
		return "status of the node"
	}
	return "the node's lease"
}
