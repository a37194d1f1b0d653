package agent

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// newCollector is what keeps account of this node's images.
func (a *Agent) newCollector() *image.Collector {
	return &image.Collector{
		Store: a.cfg.Images.Store, Keep: a.cfg.Keep, InUse: a.imagesInUse, Here: a.imagesHere,
		Tell: a.report.nodeWarning, Now: a.cfg.Now, Log: a.cfg.Log,
	}
}

// Reclaim removes all images that no pod of this node has or wants, save those that were loaded.
func (a *Agent) Reclaim(ctx context.Context) error { return a.collector.Reclaim(ctx) }

// imagesInUse are those of containers that are here, and of pods that are to be.
func (a *Agent) imagesInUse(ctx context.Context) (map[string]bool, error) {
	boxes, err := a.cfg.Runtime.Sandboxes(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, b := range boxes {
		for _, c := range b.Containers {
			used[c.Image], used[c.ImageID] = true, true
		}
		for _, m := range b.Images {
			used[m.Image], used[m.ImageID] = true, true
		}
	}
	for p := range store.List[*corev1.Pod](a.cfg.Reader.Snapshot(), store.OnNode(a.cfg.Node.Name)) {
		for _, ref := range imagesOf(&p.Spec) {
			if name, err := image.Normalize(ref); err == nil {
				used[name] = true
			}
		}
	}
	delete(used, "")
	return used, nil
}

// imagesOf are the images that a pod names.
func imagesOf(s *corev1.PodSpec) []string {
	var refs []string
	for i := range s.InitContainers {
		refs = append(refs, s.InitContainers[i].Image)
	}
	for i := range s.Containers {
		refs = append(refs, s.Containers[i].Image)
	}
	for i := range s.EphemeralContainers {
		refs = append(refs, s.EphemeralContainers[i].Image)
	}
	for i := range s.Volumes {
		if v := s.Volumes[i].Image; v != nil {
			refs = append(refs, v.Reference)
		}
	}
	return refs
}

// As much of images is in a node's status as in Kubernetes.
const (
	maxNodeImages = 50
	maxNodeNames  = 5 // of each
)

// imagesHere reports the largest images in the node's status, if that does not have them yet.
func (a *Agent) imagesHere(have []image.Image) {
	list := nodeImages(have)
	n, ok := store.Get[*corev1.Node](a.cfg.Reader.Snapshot(), "", a.cfg.Node.Name)
	if ok && !equality.Semantic.DeepEqual(n.Status.Images, list) {
		a.report.images(list)
	}
}

func nodeImages(have []image.Image) []corev1.ContainerImage {
	at := map[string]int{}
	list := []corev1.ContainerImage{}
	for _, i := range have {
		n, ok := at[i.ID]
		if !ok {
			n, at[i.ID] = len(list), len(list)
			list = append(list, corev1.ContainerImage{SizeBytes: i.Size})
		}
		if names := &list[n].Names; len(*names) < maxNodeNames {
			*names = append(*names, i.Ref)
		}
	}
	for i := range list {
		slices.Sort(list[i].Names)
	}
	slices.SortFunc(list, func(x, y corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(y.SizeBytes, x.SizeBytes), slices.Compare(x.Names, y.Names))
	})
	return list[:min(len(list), maxNodeImages)]
}
