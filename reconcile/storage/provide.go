package storage

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	helper "k8s.io/component-helpers/storage/volume"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Ours tells whether a volume is a folder that Mainstay made.
func Ours(v *corev1.PersistentVolume) bool { return v.Spec.CSI != nil && v.Spec.CSI.Driver == Driver }

// provide has a volume made for the claim, which none that is there suits.
func (b *binding) provide(class *storagev1.StorageClass, node *corev1.Node) {
	name := helper.GetPersistentVolumeClaimClass(b.next)
	switch {
	case name == "":
		b.tell(corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
		return
	case class == nil:
		b.tell(corev1.EventTypeWarning, "ProvisioningFailed", "storageclass.storage.k8s.io %q not found", name)
		return
	case class.Provisioner == noProvisioner:
		b.tell(corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim, and class %q makes none", name)
		return
	}
	annotate(b.next, helper.AnnStorageProvisioner, class.Provisioner)
	if class.Provisioner != Driver {
		b.tell(corev1.EventTypeNormal, "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
			"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner)
		return
	}
	if why := Refuse(b.next, class); why != "" {
		b.tell(corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %s", name, why)
		return
	}
	if node == nil {
		if node = anyNode(b.Snapshot, class); node == nil {
			b.tell(corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: no node is ready for it", name)
			return
		}
	}
	v := folder(b.next, class, node)
	if _, there := b.Get(store.Key{Kind: volumeKind, Name: v.Name}); there {
		return // one of that name that does not suit: it is on its way out
	}
	b.plan.Create(v, "its claim asks for it")
	b.tell(corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", v.Name)
	b.has(v)
}

// Refuse is why no folder can be what a claim asks for; empty if one can.
func Refuse(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) string {
	for _, m := range c.Spec.AccessModes {
		if m != corev1.ReadWriteOnce && m != corev1.ReadWriteOncePod {
			return fmt.Sprintf("accessModes: %s is not supported: a folder is on one node; ask for ReadWriteOnce or ReadWriteOncePod", m)
		}
	}
	switch {
	case c.Spec.VolumeMode != nil && *c.Spec.VolumeMode == corev1.PersistentVolumeBlock:
		return "volumeMode: Block is not supported: ask for Filesystem"
	case c.Spec.Selector != nil:
		return "selector: it can only select volumes that are there"
	case c.Spec.DataSource != nil || c.Spec.DataSourceRef != nil:
		return "dataSource: copies and snapshots are not supported"
	case c.Spec.VolumeAttributesClassName != nil && *c.Spec.VolumeAttributesClassName != "":
		return "volumeAttributesClassName: attributes of volumes are not supported"
	case len(class.Parameters) > 0:
		return "its class has parameters, and " + Driver + " knows none"
	case len(class.MountOptions) > 0:
		return "its class has mountOptions, and a folder is not mounted"
	}
	return ""
}

// anyNode is the first node by name that takes pods and that the class allows.
func anyNode(s *store.Snapshot, class *storagev1.StorageClass) *corev1.Node {
	for n := range store.List[*corev1.Node](s) {
		ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		if ready && !n.Spec.Unschedulable && Allows(class, n) {
			return n
		}
	}
	return nil
}

// Allows tells whether a class makes volumes on a node.
func Allows(class *storagev1.StorageClass, n *corev1.Node) bool {
	suits := func(t corev1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(e corev1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(e.Values, n.Labels[e.Key])
		})
	}
	return len(class.AllowedTopologies) == 0 || slices.ContainsFunc(class.AllowedTopologies, suits)
}

// Reaches tells whether a node has a volume within reach.
func Reaches(v *corev1.PersistentVolume, n *corev1.Node) bool {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return true
	}
	terms, err := nodeaffinity.NewNodeSelector(v.Spec.NodeAffinity.Required)
	return err == nil && terms.Match(n)
}

// folder is a volume of ours on a node, which makes it when a pod first uses it.
func folder(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, n *corev1.Node) *corev1.PersistentVolume {
	name := "pvc-" + string(c.UID)
	reclaim := corev1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	host := n.Labels[corev1.LabelHostname]
	key := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{host}}}}
	if host == "" {
		key = corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{n.Name}}}}
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{helper.AnnDynamicallyProvisioned: Driver},
			Finalizers: []string{scheme.VolumeProtection, FolderFinalizer},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: c.Spec.Resources.Requests.Storage().DeepCopy()},
			AccessModes:                   c.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: reclaim,
			StorageClassName:              class.Name,
			VolumeMode:                    c.Spec.VolumeMode,
			ClaimRef:                      claimRef(c),
			NodeAffinity:                  &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{key}}},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: Driver, VolumeHandle: name, VolumeAttributes: map[string]string{"node": n.Name},
			}},
		},
	}
}
