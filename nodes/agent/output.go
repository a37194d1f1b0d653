package agent

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/stream"
)

// logPath is the log of a run of a container.
func (a *Agent) logPath(id runtime.ID) string {
	return filepath.Join(a.cfg.Volumes.ContainerDir(id.Pod, id.Name), strconv.Itoa(id.Attempt)+".log")
}

// listen sees to it that what the pod's containers write is copied, and takes down the last words of those that ended.
func (a *Agent) listen(ctx context.Context, w *worker) {
	if w.seen.Sandbox == nil {
		return
	}
	for i := range w.seen.Sandbox.Containers {
		c := &w.seen.Sandbox.Containers[i]
		a.copyOutput(ctx, w, c.ID)
		if c.State == runtime.Exited {
			a.takeMessage(ctx, w, c)
		}
	}
}

// copyOutput has what a run of a container writes copied to its log until it ends.
func (a *Agent) copyOutput(ctx context.Context, w *worker, id runtime.ID) {
	if a.cfg.Logs == nil || w.copying[id] != nil {
		return
	}
	stdout, stderr, err := a.cfg.Runtime.Output(ctx, id)
	if err != nil {
		a.cfg.Log.Warn("opening the output of a container failed", "container", id, "err", err)
		return // the next turn tries again
	}
	done := make(chan struct{})
	if w.copying == nil {
		w.copying = map[runtime.ID]<-chan struct{}{}
	}
	w.copying[id] = done
	a.spawn(func() {
		defer close(done)
		stop := context.AfterFunc(a.life, func() { stdout.Close(); stderr.Close() })
		defer stop()
		if err := a.cfg.Logs.Copy(a.logPath(id), stdout, stderr); err != nil && a.life.Err() == nil {
			a.cfg.Log.Warn("copying the output of a container failed", "container", id, "err", err)
		}
	})
}

const outputPatience = time.Second

// awaitOutput waits until all that a run of a container wrote is in its log, but not for ever.
func (a *Agent) awaitOutput(ctx context.Context, w *worker, id runtime.ID) {
	c, done := w.container(id), w.copying[id]
	if done == nil || c == nil || c.State != runtime.Exited {
		return
	}
	await(ctx, done)
}

// await waits for the end of something that is about to end, but not for ever.
func await(ctx context.Context, done <-chan struct{}) {
	timer := time.NewTimer(outputPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

const (
	lastLines = 80
	lastBytes = 2048
)

// takeMessage takes down the last words of a run that ended: what it left in its file, or the end of its log if it asks
// for that and failed.
func (a *Agent) takeMessage(ctx context.Context, w *worker, c *runtime.Container) {
	if _, known := w.seen.Messages[c.ID]; known {
		return
	}
	message := a.cfg.Volumes.Message(c.ID)
	if message == "" && c.ExitCode != 0 && c.Labels[pod.MessageLabel] == string(corev1.TerminationMessageFallbackToLogsOnError) && a.cfg.Logs != nil {
		a.awaitOutput(ctx, w, c.ID)
		message = a.endOfLog(c.ID)
	}
	if w.seen.Messages == nil {
		w.seen.Messages = map[runtime.ID]string{}
	}
	w.seen.Messages[c.ID] = message
}

func (a *Agent) endOfLog(id runtime.ID) string {
	r, err := a.cfg.Logs.Read(a.life, a.logPath(id), stream.Options{Tail: lastLines})
	if err != nil {
		return ""
	}
	defer r.Close()
	var end tail
	if _, err := r.WriteTo(&end); err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(end), "?")
}

// tail keeps the end of what is written to it: lines may be of any length.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p[max(len(p)-lastBytes, 0):]...)
	*t = append((*t)[:0], (*t)[max(len(*t)-lastBytes, 0):]...)
	return len(p), nil
}

// clearLogs removes what runs before the last one have left: a pod that fails again and again must not fill the disk.
func (a *Agent) clearLogs(w *worker, step pod.Step) {
	dir := a.cfg.Volumes.ContainerDir(w.uid, step.Container)
	entries, err := os.ReadDir(dir)
	if err != nil || step.Attempt < 2 {
		return
	}
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), ".")
		if n, err := strconv.Atoi(number); err == nil && n < step.Attempt-1 {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				a.cfg.Log.Warn("removing an old log failed", "err", err)
			}
		}
	}
}

// newestLog is the number of the last run of a container of which there is a log; -1 if there is none.
func newestLog(dir string) int {
	newest := -1
	entries, _ := os.ReadDir(dir) // a folder that is not there holds nothing
	for _, e := range entries {
		if number, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			if n, err := strconv.Atoi(number); err == nil {
				newest = max(newest, n)
			}
		}
	}
	return newest
}
