package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A FolderReport says that the folder of a volume is removed.
type FolderReport struct {
	Volume string
	UID    types.UID
}

// volumeChanged has the folder of a volume removed that is to go.
func (a *Agent) volumeChanged(v *corev1.PersistentVolume) {
	if volume.Leaves(v, a.cfg.Node.Name) {
		a.folders.Wake(v.Name)
	}
}

// removeFolder removes the folder of a volume that is to go, and says so.
func (a *Agent) removeFolder(_ context.Context, name string) (time.Duration, error) {
	v, ok := store.Get[*corev1.PersistentVolume](a.cfg.Reader.Snapshot(), "", name)
	if !ok || !volume.Leaves(v, a.cfg.Node.Name) {
		return 0, nil
	}
	if err := a.cfg.Volumes.RemoveFolder(v.Spec.CSI.VolumeHandle); err != nil {
		return 0, err
	}
	a.report.folder(FolderReport{v.Name, v.UID})
	return 0, nil
}

// folder says that a volume's folder is removed.
func (r *reporter) folder(f FolderReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folders = append(r.folders, f)
	r.loop.Wake(struct{}{})
}

// folder lets a volume go whose folder is removed.
func (l *Local) folder(tx *store.Tx, f FolderReport) error {
	old, ok := store.Get[*corev1.PersistentVolume](tx.Snapshot, "", f.Volume)
	if !ok || old.UID != f.UID || old.DeletionTimestamp == nil {
		return nil
	}
	next := old.DeepCopy()
	next.Finalizers = nil
	for _, name := range old.Finalizers {
		if name != volume.FolderFinalizer {
			next.Finalizers = append(next.Finalizers, name)
		}
	}
	if len(next.Finalizers) == 0 {
		return tx.Delete(tx.Key(old))
	}
	if len(next.Finalizers) == len(old.Finalizers) {
		return nil
	}
	return l.update(tx, next)
}
