package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/process"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// sandboxFile is written last when a sandbox is made: where it is, all else was made.
type sandboxFile struct {
	Spec    runtime.SandboxSpec
	Created time.Time
	Boot    string // the machine's when it was made; empty: not noted
	Pause   int    // the pause process; 0: there is none
}

const sandboxJSON = "sandbox.json"

func (r *Runtime) MakeSandbox(ctx context.Context, s runtime.SandboxSpec) (runtime.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return runtime.Sandbox{}, err
	}
	if !fs.ValidPath(string(s.Pod)) || filepath.Base(string(s.Pod)) != string(s.Pod) || s.Pod == "." {
		return runtime.Sandbox{}, fmt.Errorf("make sandbox: %q is no uid of a pod", s.Pod)
	}
	if p, err := r.pod(s.Pod); err == nil {
		if box, _ := r.Sandbox(ctx, s.Pod); box.Ready {
			return box, nil
		}
		if err := r.removePod(ctx, p); err != nil {
			return runtime.Sandbox{}, err
		}
	}
	if !knownHandler(s.Handler) {
		return runtime.Sandbox{}, fmt.Errorf("make sandbox of pod %s: no runtime for handler %q is on this node, only runc", s.Pod, s.Handler)
	}
	p, err := r.makeSandbox(s)
	if err != nil {
		return runtime.Sandbox{}, errors.Join(fmt.Errorf("make sandbox of pod %s: %w", s.Pod, err), r.clearPod(ctx, r.podDir(s.Pod), s.Pod))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[s.Pod] = p
	return p.view(), nil
}

// knownHandler tells whether there is something on this machine to run the containers of a RuntimeClass.
func knownHandler(name string) bool {
	switch name {
	case "", "runc", runcShim:
		return true
	}
	return false
}

func (r *Runtime) makeSandbox(s runtime.SandboxSpec) (*pod, error) {
	dir := r.podDir(s.Pod)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	if err := unpin(dir); err != nil { // what a crash left half done
		return nil, err
	}
	group, err := r.cfg.Pods.Make(s.QoS, string(s.Pod), cgroup.Limits(s.Resources))
	if err != nil {
		return nil, err
	}
	if !s.HostIPC {
		if err := mountShm(filepath.Join(dir, "shm")); err != nil {
			return nil, err
		}
	}
	half, err := pinNamespaces(dir, s)
	if err != nil {
		return nil, err
	}
	file := sandboxFile{Spec: s, Created: time.Now().Round(0).UTC(), Boot: bootID()}
	var pause *process.Process
	if half != nil {
		file.Pause = half.pid
		if pause, err = half.settle(r.cfg.Tree, path.Join(group, pauseGroup), filepath.Join(dir, "pid"), max(-998, r.host.leastOOM)); err != nil {
			return nil, err
		}
	}
	if err := writeJSON(filepath.Join(dir, sandboxJSON), file); err != nil {
		return nil, err
	}
	p := newPod(dir, file, group)
	p.pause = pause
	return p, nil
}

// bootID is another one after each boot.
func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

func newPod(dir string, f sandboxFile, group string) *pod {
	p := &pod{dir: dir, spec: f.Spec, cgroup: group, box: runtime.Sandbox{
		Pod: f.Spec.Pod, Namespace: f.Spec.Namespace, Name: f.Spec.Name, Created: f.Created, Ready: true, Labels: f.Spec.Labels,
	}}
	if !f.Spec.HostNetwork {
		p.box.NetNS = filepath.Join(dir, "net")
	}
	return p
}

// whole tells whether the namespaces of a sandbox are there. One that has none but the host's is told from the boot.
func whole(dir string, f sandboxFile) bool {
	if f.Boot != "" && f.Boot != bootID() {
		return false
	}
	return !slices.ContainsFunc(pins(f.Spec), func(p pin) bool { return !pinned(filepath.Join(dir, p.name)) })
}

// ready tells whether containers can be made in the sandbox: the first of its processes, if it shares them, must run.
func (p *pod) ready() bool {
	return p.box.Ready && (!p.spec.SharePIDs || p.pause != nil && p.pause.Running())
}

func (r *Runtime) RemoveSandbox(ctx context.Context, uid types.UID) error {
	p, err := r.pod(uid)
	if errors.Is(err, runtime.ErrNotFound) {
		return ctx.Err()
	}
	return r.removePod(ctx, p)
}

// removePod ends all containers of a pod at once, removes them, and then what they shared.
func (r *Runtime) removePod(ctx context.Context, p *pod) error {
	ctx, cancel := r.call(ctx)
	defer cancel()
	p.work.Lock()
	defer p.work.Unlock()
	r.mu.Lock()
	all := slices.Clone(p.containers)
	r.mu.Unlock()
	for _, c := range all {
		_ = r.signal(c, unix.SIGKILL) // whether it could be is seen when it is removed
	}
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, c := range all {
		wg.Go(func() { errs[i] = r.remove(ctx, p, c) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove sandbox of pod %s: %w", p.box.Pod, err)
	}
	if err := r.clearPod(ctx, p.dir, p.box.Pod); err != nil {
		return fmt.Errorf("remove sandbox of pod %s: %w", p.box.Pod, err)
	}
	r.mu.Lock()
	if p.pause != nil {
		_ = p.pause.Running() // it has ended: this reaps it, if it is a child of this process
		_ = p.pause.Close()
		p.pause = nil
	}
	delete(r.pods, p.box.Pod)
	r.mu.Unlock()
	r.tell(p.box.Pod)
	return nil
}

// clearPod removes what the containers of a pod shared, whatever of it is there.
func (r *Runtime) clearPod(ctx context.Context, dir string, uid types.UID) error {
	ctx, cancel := r.call(context.WithoutCancel(ctx))
	defer cancel()
	if err := r.dropImages(ctx, dir, uid); err != nil {
		return err
	}
	if err := r.cfg.Pods.Remove(ctx, string(uid)); err != nil {
		return err
	}
	if err := unpin(dir); err != nil {
		return err
	}
	_ = os.Remove(r.shimSocket(string(uid))) // a shim that was killed leaves it
	return os.RemoveAll(dir)
}

// shimSocket is where the shim of a group listens: a place that containerd fixes, outside all configured folders.
func (r *Runtime) shimSocket(group string) string {
	address := filepath.Join(r.client.socket, r.client.namespace, group)
	return fmt.Sprintf("/run/containerd/s/%x", sha256.Sum256([]byte(address)))
}

// writeJSON writes a file in one step. It need not survive a boot, so it is not synced.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readJSON tells whether a file is there and whole.
func readJSON(path string, v any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(data, v) == nil
}
