package storage

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helper "k8s.io/component-helpers/storage/volume"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const binder = "persistentvolume-controller"

// Claims binds each claim to a volume: one that is there, or one that it makes.
type Claims struct{}

func (Claims) Name() string { return binder }

func (Claims) Owns() []control.Owned { return []control.Owned{{Kind: claimKind}, {Kind: volumeKind}} }

func (Claims) Watches() []control.Watch {
	return []control.Watch{
		{Kind: claimKind},
		{Kind: volumeKind, Keys: claimsOfVolume},
		{Kind: classKind, Keys: func(s *store.Snapshot, _ store.Change) []store.Key { return waiting(s) }},
		{Kind: podKind, Keys: claimsOfPod},
		{Kind: nodeKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			if c.Old != nil && c.New != nil {
				return nil
			}
			return waiting(s)
		}},
	}
}

// waiting are the claims without a volume.
func waiting(s *store.Snapshot) []store.Key {
	var keys []store.Key
	for c := range store.List[*corev1.PersistentVolumeClaim](s) {
		if !Bound(c) {
			keys = append(keys, s.Key(c))
		}
	}
	return keys
}

// claimsOfVolume is whose a volume is; all that wait, if it is free.
func claimsOfVolume(s *store.Snapshot, c store.Change) []store.Key {
	v := c.Object().(*corev1.PersistentVolume)
	if r := v.Spec.ClaimRef; r != nil {
		return []store.Key{{Kind: claimKind, Namespace: r.Namespace, Name: r.Name}}
	}
	if c.New == nil {
		return nil
	}
	return waiting(s)
}

// claimsOfPod are the claims of a pod that has gone, which may go too.
func claimsOfPod(_ *store.Snapshot, c store.Change) []store.Key {
	if c.New != nil {
		return nil
	}
	p := c.Old.(*corev1.Pod)
	var keys []store.Key
	for i := range p.Spec.Volumes {
		if name := ClaimName(p, &p.Spec.Volumes[i]); name != "" {
			keys = append(keys, store.Key{Kind: claimKind, Namespace: p.Namespace, Name: name})
		}
	}
	return keys
}

// binding is one claim while it is planned.
type binding struct {
	control.World
	claim *corev1.PersistentVolumeClaim // as it is
	next  *corev1.PersistentVolumeClaim // as it shall be
	plan  control.Plan
}

// Plan brings a claim to its volume.
func (Claims) Plan(w control.World, key store.Key) (control.Plan, error) {
	c, ok := store.Get[*corev1.PersistentVolumeClaim](w.Snapshot, key.Namespace, key.Name)
	if !ok {
		return control.Plan{}, nil
	}
	b := &binding{World: w, claim: c, next: c.DeepCopy()}
	switch {
	case c.DeletionTimestamp != nil:
		b.letGo()
	case c.Annotations[helper.AnnBindCompleted] != "":
		b.keep()
	default:
		b.seek()
	}
	if !equality.Semantic.DeepEqual(b.claim, b.next) {
		b.plan.Update(b.next, "its volume")
	}
	return b.plan, nil
}

func (b *binding) tell(kind, reason, format string, args ...any) {
	tell(&b.plan, b.World, binder, control.Event{About: b.claim, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// letGo lets a claim that is to go go when no pod uses it.
func (b *binding) letGo() {
	for p := range store.List[*corev1.Pod](b.Snapshot, store.InNamespace(b.claim.Namespace)) {
		for i := range p.Spec.Volumes {
			if p.Spec.NodeName != "" && ClaimName(p, &p.Spec.Volumes[i]) == b.claim.Name {
				return
			}
		}
	}
	b.next.Finalizers = slices.DeleteFunc(b.next.Finalizers, func(f string) bool { return f == scheme.ClaimProtection })
}

// keep looks after a claim that has its volume.
func (b *binding) keep() {
	v, ok := store.Get[*corev1.PersistentVolume](b.Snapshot, "", b.claim.Spec.VolumeName)
	switch {
	case !ok:
		b.lose("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil:
		b.bind(v)
	case v.Spec.ClaimRef.UID != b.claim.UID:
		b.lose("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	default:
		b.has(b.expand(v))
	}
}

func (b *binding) lose(reason, message string) {
	b.next.Status.Phase, b.next.Status.AccessModes, b.next.Status.Capacity = corev1.ClaimLost, nil, nil
	b.tell(corev1.EventTypeWarning, reason, "%s", message)
}

// expand gives a volume of ours the size that is asked for by now, which is only a number.
func (b *binding) expand(v *corev1.PersistentVolume) *corev1.PersistentVolume {
	class := ClassOf(b.Snapshot, b.claim)
	asked := b.claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !Ours(v) || class == nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion || asked.Cmp(*v.Spec.Capacity.Storage()) <= 0 {
		return v
	}
	next := v.DeepCopy()
	next.Spec.Capacity[corev1.ResourceStorage] = asked.DeepCopy()
	b.plan.Update(next, "its claim asks for more")
	b.tell(corev1.EventTypeNormal, "FileSystemResizeSuccessful", "the volume counts as %s now; how much it holds is not enforced", asked.String())
	return next
}

// seek finds a volume for a claim that has none.
func (b *binding) seek() {
	b.classify()
	if name := b.claim.Spec.VolumeName; name != "" {
		b.demand(name)
		return
	}
	class := ClassOf(b.Snapshot, b.next)
	node, ok := b.chosen()
	if !ok {
		return
	}
	v := Match(b.Snapshot, b.next, node, Delayed(class))
	switch {
	case v != nil:
		b.bind(v)
	case Delayed(class) && node == nil:
		b.tell(corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
	default:
		b.provide(class, node)
	}
}

// classify gives a claim that names no class the default one.
func (b *binding) classify() {
	if !unclassified(b.claim) {
		return
	}
	if name := defaultClass(b.Snapshot); name != "" {
		b.next.Spec.StorageClassName = &name
	}
}

// chosen is the node that the scheduler has chosen for the claim's first pod, nil if it has not. A choice of a node that is
// gone is taken back: then it is not ok to go on.
func (b *binding) chosen() (node *corev1.Node, ok bool) {
	name := b.claim.Annotations[helper.AnnSelectedNode]
	if name == "" {
		return nil, true
	}
	if node, ok = store.Get[*corev1.Node](b.Snapshot, "", name); !ok {
		b.next.Annotations = maps.Clone(b.next.Annotations)
		delete(b.next.Annotations, helper.AnnSelectedNode)
	}
	return node, ok
}

// demand takes the volume that the claim names, if it may.
func (b *binding) demand(name string) {
	v, ok := store.Get[*corev1.PersistentVolume](b.Snapshot, "", name)
	switch {
	case !ok:
		b.tell(corev1.EventTypeWarning, "FailedBinding", "volume %q is not there", name)
	case v.Spec.ClaimRef != nil && !helper.IsVolumeBoundToClaim(v, b.claim):
		b.tell(corev1.EventTypeWarning, "FailedBinding", "volume %q already bound to a different claim.", name)
	default:
		if why := unfit(v, b.next); why != "" {
			b.tell(corev1.EventTypeWarning, "VolumeMismatch", "Cannot bind to requested volume %q: %s", name, why)
			return
		}
		b.bind(v)
	}
}

// unfit is why a volume that a claim names is not for it.
func unfit(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) string {
	switch {
	case v.Spec.Capacity.Storage().Cmp(*c.Spec.Resources.Requests.Storage()) < 0:
		return "requested PV is too small"
	case helper.GetPersistentVolumeClass(v) != helper.GetPersistentVolumeClaimClass(c):
		return "storageClassName does not match"
	case helper.CheckVolumeModeMismatches(&c.Spec, &v.Spec):
		return "incompatible volumeMode"
	case !helper.CheckAccessModes(c, v):
		return "incompatible accessMode"
	case v.DeletionTimestamp != nil:
		return "it is being deleted"
	}
	return ""
}

// bind makes a volume and the claim each other's.
func (b *binding) bind(v *corev1.PersistentVolume) {
	next := v.DeepCopy()
	if r := next.Spec.ClaimRef; r == nil || r.UID != b.claim.UID {
		if r == nil {
			annotate(next, helper.AnnBoundByController, "yes")
		}
		next.Spec.ClaimRef = claimRef(b.claim)
	}
	phase(next, corev1.VolumeBound, b.Now)
	if !equality.Semantic.DeepEqual(v, next) {
		b.plan.Update(next, "it suits a claim")
	}
	b.has(next)
}

// has notes that the claim has v.
func (b *binding) has(v *corev1.PersistentVolume) {
	if b.next.Spec.VolumeName == "" {
		b.next.Spec.VolumeName = v.Name
		annotate(b.next, helper.AnnBoundByController, "yes")
	}
	annotate(b.next, helper.AnnBindCompleted, "yes")
	s := &b.next.Status
	s.Phase, s.AccessModes, s.Capacity = corev1.ClaimBound, v.Spec.AccessModes, v.Spec.Capacity.DeepCopy()
}

func annotate(o store.Object, key, value string) {
	a := maps.Clone(o.GetAnnotations())
	if a == nil {
		a = map[string]string{}
	}
	a[key] = value
	o.SetAnnotations(a)
}

func claimRef(c *corev1.PersistentVolumeClaim) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion}
}

// phase moves a volume to another phase, and its time with it.
func phase(v *corev1.PersistentVolume, p corev1.PersistentVolumePhase, now time.Time) {
	if v.Status.Phase == p {
		return
	}
	t := metav1.NewTime(now.Truncate(time.Second))
	v.Status.Phase, v.Status.LastPhaseTransitionTime, v.Status.Message, v.Status.Reason = p, &t, "", ""
}
