package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// A volume that is an image is resolved once for each sandbox: the image is pulled when a container that mounts the volume
// is to be made, then its files are mounted in the sandbox, and they stay what they are until the sandbox goes. Containers
// that do not mount it do not wait for it.

// imageVolumes are the volumes of c that are images, each once.
func (v *view) imageVolumes(c *container) []*corev1.Volume {
	var all []*corev1.Volume
	for i := range v.want.Spec.Volumes {
		vol := &v.want.Spec.Volumes[i]
		if vol.Image != nil && slices.ContainsFunc(c.spec.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == vol.Name }) {
			all = append(all, vol)
		}
	}
	return all
}

// imageMounted tells whether the files of a volume's image are in the sandbox.
func (v *view) imageMounted(vol *corev1.Volume) bool {
	return v.sandboxReady() && slices.ContainsFunc(v.seen.Sandbox.Images, func(m runtime.ImageMount) bool { return m.Volume == vol.Name })
}

// pullVolumes asks for the images of c's volumes.
func (v *view) pullVolumes(c *container) {
	if c.created() {
		return
	}
	for _, vol := range v.imageVolumes(c) {
		if _, asked := v.seen.VolumeImages[vol.Name]; !asked && !v.imageMounted(vol) {
			v.once(Step{Op: Pull, Volume: vol.Name})
		}
	}
}

// mountImages mounts the images of c's volumes. It returns false if c must wait for one.
func (v *view) mountImages(c *container) bool {
	ready := true
	for _, vol := range v.imageVolumes(c) {
		if v.imageMounted(vol) {
			continue
		}
		i, asked := v.seen.VolumeImages[vol.Name]
		ready = asked && !i.Pulling && v.once(Step{Op: MountImage, Volume: vol.Name}) && ready
	}
	return ready
}

// once adds a step, unless it was added for another container.
func (v *view) once(s Step) bool { return slices.Contains(v.next.Steps, s) || v.do(s) }

// imageFailure is why an image of c's volumes is not there, and how the pod names that image.
func (v *view) imageFailure(c *container) (f Failure, image string, ok bool) {
	for _, vol := range v.imageVolumes(c) {
		for _, op := range []Op{Pull, MountImage} {
			if f, ok := v.seen.Failed[Move{Op: op, Volume: vol.Name}]; ok && !v.imageMounted(vol) {
				return f, vol.Image.Reference, true
			}
		}
	}
	return Failure{}, "", false
}

// VolumeNamed is a volume of p; nil if there is none of that name.
func VolumeNamed(p *corev1.Pod, name string) *corev1.Volume {
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Name == name {
			return &p.Spec.Volumes[i]
		}
	}
	return nil
}
