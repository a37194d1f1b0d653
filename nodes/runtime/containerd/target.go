package containerd

import (
	"fmt"
	"os"

	"github.com/mainstay-gitops/mainstay/nodes/process"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// targetSuffix ends the name of the file that keeps the PID namespace of another container, which a container joins.
const targetSuffix = ".pid"

func (c *container) target() string { return c.files + targetSuffix }

// pinTarget keeps the PID namespace of a running container for c, and returns the file. It is empty where c sees those
// processes anyhow.
func (r *Runtime) pinTarget(p *pod, c *container, name string) (string, error) {
	if name == "" || p.spec.HostPID || p.spec.SharePIDs {
		return "", nil
	}
	group, pid := r.running(p, name)
	if pid == 0 {
		return "", fmt.Errorf("container %q, whose processes it is to see: %w", name, runtime.ErrNotRunning)
	}
	held, err := process.Open(pid)
	if err != nil {
		return "", fmt.Errorf("container %q, whose processes it is to see: %w", name, err)
	}
	defer held.Close()
	if !r.cfg.Tree.Has(group, pid) {
		return "", fmt.Errorf("container %q, whose processes it is to see: %w", name, runtime.ErrNotRunning)
	}
	if err := unmount(c.target()); err != nil { // of a call that did not get to its end
		return "", err
	}
	if err := pinFile(fmt.Sprintf("/proc/%d/ns/pid", pid), c.target()); err != nil {
		return "", err
	}
	if !held.Running() { // until now that id was no other process's
		return "", fmt.Errorf("container %q, whose processes it is to see: %w", name, runtime.ErrNotRunning)
	}
	return c.target(), nil
}

// running is the cgroup and first process of the newest run of a container; 0 if it does not run.
func (r *Runtime) running(p *pod, name string) (group string, pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range p.containers {
		if o.ID.Name == name && o.State == runtime.Running {
			group, pid = o.cgroup, o.pid
		}
	}
	return group, pid
}

// releaseTarget gives back what pinTarget took.
func (c *container) releaseTarget() error {
	if _, err := os.Lstat(c.target()); err != nil {
		return nil
	}
	return unmount(c.target())
}
