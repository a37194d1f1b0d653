// Package volume makes and removes what a pod's containers mount: its volumes, its files in /etc, and the files for its
// containers' last words. All of a pod lies in two folders named by its UID: one on disk, and one in memory, for secrets
// and for small files that can be made again.
//
//	pods/UID/.volumes/NAME      volumes on disk
//	pods/UID/.subpaths/...      parts of volumes, bound
//	pods/UID/CONTAINER/         logs
//	volumes/HANDLE              volumes of claims that are folders of this node, beside the pods' folder
//	memory/UID/.volumes/NAME    volumes that hold secrets
//	memory/UID/.etc/            hosts, hostname, resolv.conf
//	memory/UID/.ends/           last words
package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Volumes of the pods of one node. Calls for one pod come one at a time.
type Volumes struct {
	pods   string // a folder for each pod
	memory string // the same on a tmpfs
	claims string // a folder for each volume of a claim that is one of this node
}

// Open keeps pods' files in the folder pods, and secrets in the folder memory, on which it mounts a tmpfs unless there is
// one.
func Open(pods, memory string) (*Volumes, error) {
	for _, dir := range []string{pods, memory} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("make the folder for pods: %w", err)
		}
	}
	mounted, err := isMountPoint(memory)
	if err == nil && !mounted {
		err = mountMemory(memory, "mode=0750")
	}
	if err != nil {
		return nil, fmt.Errorf("keep secrets in memory at %s: %w", memory, err)
	}
	return In(pods, memory), nil
}

// In is Open for folders that are there, of which memory should be on a tmpfs: this is not looked at.
func In(pods, memory string) *Volumes {
	return &Volumes{pods, memory, filepath.Join(filepath.Dir(pods), "volumes")}
}

// Purge gives back what Open made. The pods' files are those of whoever made the folder.
func (v *Volumes) Purge() error {
	return errors.Join(unmountUnder(v.pods), unmountUnder(v.memory), os.RemoveAll(v.memory))
}

// World is what the content of volumes comes from.
type World struct {
	*store.Snapshot
	Place   pod.Place
	Address netip.Addr // the pod's
	Tokens  Tokens     // nil: there are none

	Images []runtime.ImageMount // those of the pod's volumes that are images
}

// Dir is the folder of a pod.
func (v *Volumes) Dir(uid types.UID) string { return filepath.Join(v.pods, string(uid)) }

// ContainerDir is the folder of a container of a pod, for its logs.
func (v *Volumes) ContainerDir(uid types.UID, container string) string {
	return filepath.Join(v.Dir(uid), container)
}

func (v *Volumes) etc(uid types.UID, name string) string {
	return filepath.Join(v.memory, string(uid), ".etc", name)
}

func (v *Volumes) message(id runtime.ID) string {
	return filepath.Join(v.memory, string(id.Pod), ".ends", fmt.Sprintf("%s.%d", id.Name, id.Attempt))
}

// path is where a volume is on this machine.
func (v *Volumes) path(uid types.UID, vol *corev1.Volume) string {
	switch {
	case vol.HostPath != nil:
		return vol.HostPath.Path
	case secret(vol):
		return filepath.Join(v.memory, string(uid), ".volumes", vol.Name)
	}
	return filepath.Join(v.Dir(uid), ".volumes", vol.Name)
}

// secret tells whether a volume must not be written to a disk.
func secret(vol *corev1.Volume) bool {
	if vol.Projected != nil {
		for _, s := range vol.Projected.Sources {
			if s.Secret != nil || s.ServiceAccountToken != nil {
				return true
			}
		}
	}
	return vol.Secret != nil
}

// generated tells whether the content of a volume comes from the cluster: containers may only read it.
func generated(vol *corev1.Volume) bool {
	return vol.ConfigMap != nil || vol.Secret != nil || vol.DownwardAPI != nil || vol.Projected != nil
}

// readOnly tells whether containers may only read a volume, whatever they ask for.
func readOnly(vol *corev1.Volume) bool {
	return generated(vol) || vol.Image != nil || vol.PersistentVolumeClaim != nil && vol.PersistentVolumeClaim.ReadOnly
}

// Make makes all volumes of p but those that are images, which the runtime mounts, or brings them up to date. What is as it should be is not touched. It returns when to do so
// again, if nothing changes before: the zero time if never. An error names the volume.
func (v *Volumes) Make(p *corev1.Pod, w World) (again time.Time, err error) {
	m := making{group: groupOf(p), owner: userOf(p)}
	for i := range p.Spec.Volumes {
		vol := &p.Spec.Volumes[i]
		if err := v.make(p, vol, w, &m); err != nil {
			return time.Time{}, fmt.Errorf("volume %q: %w", vol.Name, err)
		}
	}
	resolv, _ := pod.Resolv(p, w.Place)
	hostname, err := pod.SandboxHostname(p, w.Place)
	if err != nil {
		return time.Time{}, err
	}
	for name, text := range map[string]string{
		"hosts":       pod.Hosts(p, w.Place, w.Address),
		"hostname":    hostname + "\n",
		"resolv.conf": resolv,
	} {
		if err := writeIfChanged(v.etc(p.UID, name), text); err != nil {
			return time.Time{}, fmt.Errorf("write /etc/%s: %w", name, err)
		}
	}
	return m.again, nil
}

func (v *Volumes) make(p *corev1.Pod, vol *corev1.Volume, w World, m *making) error {
	path := v.path(p.UID, vol)
	switch {
	case vol.EmptyDir != nil:
		return makeEmpty(path, vol.EmptyDir, m.group)
	case vol.Image != nil:
		return nil
	case claimName(p, vol) != "":
		return v.makeClaim(p, vol, w, m)
	case vol.HostPath != nil:
		return checkHostPath(vol.HostPath)
	case generated(vol):
		held := func(name string) string {
			data, _ := os.ReadFile(filepath.Join(path, dataLink, name)) // nothing, if it is not there
			return string(data)
		}
		files, err := payload(p, vol, w, held, m)
		if err != nil {
			return err
		}
		return writeAtomically(path, files, m.group)
	case vol.VolumeSource == corev1.VolumeSource{}:
		return makeEmpty(path, &corev1.EmptyDirVolumeSource{}, m.group) // as Kubernetes defaults it
	}
	return errors.New("this kind of volume is not supported yet")
}

// writeIfChanged writes a file in place: containers that have it mounted see the change.
func writeIfChanged(path, text string) error {
	old, err := os.ReadFile(path)
	if err == nil && string(old) == text {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// Remove removes the volumes of a pod, and leaves its logs.
func (v *Volumes) Remove(uid types.UID) error {
	dir, memory := v.Dir(uid), filepath.Join(v.memory, string(uid))
	if err := errors.Join(unmountUnder(dir), unmountUnder(memory)); err != nil {
		return fmt.Errorf("remove the volumes of pod %s: %w", uid, err)
	}
	var errs []error
	for _, d := range []string{memory, filepath.Join(dir, ".volumes"), filepath.Join(dir, ".subpaths")} {
		errs = append(errs, os.RemoveAll(d))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the volumes of pod %s: %w", uid, err)
	}
	return nil
}

// RemoveAll removes all that is left of a pod.
func (v *Volumes) RemoveAll(uid types.UID) error {
	if err := v.Remove(uid); err != nil {
		return err
	}
	if err := os.RemoveAll(v.Dir(uid)); err != nil {
		return fmt.Errorf("remove the files of pod %s: %w", uid, err)
	}
	return nil
}

// List is the pods of which something is here.
func (v *Volumes) List() ([]types.UID, error) {
	seen := map[types.UID]bool{}
	for _, dir := range []string{v.pods, v.memory} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list the folders of pods: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				seen[types.UID(e.Name())] = true
			}
		}
	}
	uids := make([]types.UID, 0, len(seen))
	for uid := range seen {
		uids = append(uids, uid)
	}
	return uids, nil
}

const maxMessage = 4096

// Message is what a run of a container wrote as its last words; empty if nothing.
func (v *Volumes) Message(id runtime.ID) string {
	f, err := os.Open(v.message(id))
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, maxMessage)
	n, _ := f.Read(buf)
	return strings.ToValidUTF8(string(buf[:n]), "?")
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
