package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

// box is an image of busybox.
const box = "mainstay.local/busybox:v1"

// measureStreams takes the way of a command into a container, and of output out of one.
func measureStreams(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		if err := n.mainstay(ctx, nil, "image", "load", imageFile(b.dir, "busybox")); err != nil {
			return err
		}
		if err := n.apply(ctx, namespaceManifest); err != nil {
			return err
		}
		bare, err := newBareLoop(ctx, n)
		if err != nil {
			return err
		}
		defer bare.close()
		if bare.image, err = bare.load(bare.in(ctx), imageFile(b.dir, "busybox")); err != nil {
			return err
		}
		return errors.Join(measureExec(ctx, b, n, bare), measureLogs(ctx, b, n, bare, 1), measureLogs(ctx, b, n, bare, many))
	})
}

// measureExec has a command say a word: through the API, as kubectl exec does, and through containerd's client, as ctr does.
func measureExec(ctx context.Context, b *bench, n *node, bare *bareLoop) error {
	rw := b.row(row{Name: "exec, from the request to its end", Unit: "ms", FloorIs: "as ctr does it"})
	s := &streams{n: n, bare: bare, script: "sleep 1000000"}
	defer s.clean(ctx, 1)
	if err := s.startPods(ctx, 1); err != nil {
		return err
	}
	task, err := s.startBare(ctx, 0, cio.NullIO)
	if err != nil {
		return err
	}
	command := []string{"echo", "hello"}
	timed := func(note func(float64), run func(io.Writer) error) error {
		var out bytes.Buffer
		started := time.Now()
		err := run(&out)
		note(float64(time.Since(started).Microseconds()) / 1000)
		if err == nil && out.String() != "hello\n" {
			err = fmt.Errorf("the command said %q", out.String())
		}
		return err
	}
	for i := range quick * b.rounds {
		ours := func() error {
			return timed(rw.ours, func(w io.Writer) error { return n.exec(ctx, s.name(0), command, w) })
		}
		theirs := func() error {
			return timed(rw.floor, func(w io.Writer) error { return bare.exec(bare.in(ctx), task, i, command, w) })
		}
		if err := turns(i, ours, theirs); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a command in a pod of one container.
func (n *node) exec(ctx context.Context, pod string, command []string, out io.Writer) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", n.data+"/kubeconfig")
	if err != nil {
		return err
	}
	url := n.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true}, scheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(cfg, "GET", url.String())
	if err != nil {
		return err
	}
	return e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out})
}

// exec is the same in a bare container.
func (l *bareLoop) exec(ctx context.Context, task containerd.Task, i int, command []string, out io.Writer) error {
	spec, err := task.Spec(ctx)
	if err != nil {
		return err
	}
	spec.Process.Args = command
	p, err := task.Exec(ctx, fmt.Sprint("exec-", i), spec.Process, cio.NewCreator(cio.WithStreams(nil, out, io.Discard), cio.WithFIFODir(filepath.Dir(l.root))))
	if err != nil {
		return err
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	<-exit
	p.IO().Wait()
	_, err = p.Delete(ctx)
	return err
}

// written is what all chatty containers write together, in MiB.
const written = 200

// measureLogs has containers write lines of 100 bytes as fast as these are taken: to log files in the CRI format, and by the
// shim to plain files, as ctr has it.
func measureLogs(ctx context.Context, b *bench, n *node, bare *bareLoop, containers int) error {
	what := "1 chatty container"
	if containers > 1 {
		what = fmt.Sprint(containers, " chatty containers")
	}
	rate := b.row(row{Name: "output of " + what, Unit: "MB/s", FloorIs: "plain files"})
	cpu := b.row(row{Name: "output of " + what + ", CPU of the daemon", Unit: "ms/MB"})
	for i := range b.rounds {
		s := &streams{n: n, bare: bare, gate: b.path(fmt.Sprintf("gate-%d-%d", containers, i)), of: fmt.Sprintf("%d-%d", containers, i)}
		s.script = fmt.Sprintf("until [ -e /gate/open ]; do sleep 0.02; done; yes %099d | head -c %d", 0, written<<20/containers)
		if err := s.round(ctx, containers, rate, cpu); err != nil {
			return err
		}
	}
	return nil
}

// streams are some containers that run a script, as pods and bare. Where there is a gate, they wait for a file in it.
type streams struct {
	n                *node
	bare             *bareLoop
	script, gate, of string
}

func (s *streams) name(i int) string { return fmt.Sprintf("chatty%s-%d", s.of, i) }

// round measures pods, then bare containers.
func (s *streams) round(ctx context.Context, containers int, rate, cpu *row) error {
	defer s.clean(ctx, containers)
	if err := os.MkdirAll(s.gate, 0o755); err != nil {
		return err
	}
	if err := s.startPods(ctx, containers); err != nil {
		return err
	}
	before, err := s.n.cpuTime()
	if err != nil {
		return err
	}
	took, err := s.opened(func() error { return s.ended(ctx, containers) })
	if err != nil {
		return err
	}
	after, err := s.n.cpuTime()
	if err != nil {
		return err
	}
	const megabytes = float64(written<<20) / 1e6
	rate.ours(megabytes / took.Seconds())
	cpu.ours(float64((after - before).Milliseconds()) / megabytes)
	if took, err = s.bareRound(ctx, containers); err == nil {
		rate.floor(megabytes / took.Seconds())
	}
	return err
}

// opened opens the gate, and returns how long it took until do returned.
func (s *streams) opened(do func() error) (time.Duration, error) {
	file := filepath.Join(s.gate, "open")
	started := time.Now()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return 0, err
	}
	err := do()
	return time.Since(started), errors.Join(err, os.Remove(file))
}

func (s *streams) bareRound(ctx context.Context, containers int) (time.Duration, error) {
	var exits []<-chan containerd.ExitStatus
	for i := range containers {
		task, err := s.startBare(ctx, i, cio.LogFile(filepath.Join(s.gate, fmt.Sprint("log-", i))))
		if err != nil {
			return 0, err
		}
		exit, err := task.Wait(s.bare.in(ctx))
		if err != nil {
			return 0, err
		}
		exits = append(exits, exit)
	}
	return s.opened(func() error {
		for _, e := range exits {
			select {
			case <-e:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
}

func (s *streams) startBare(ctx context.Context, i int, out cio.Creator) (containerd.Task, error) {
	opts := []oci.SpecOpts{oci.WithProcessArgs("sh", "-c", s.script)}
	if s.gate != "" {
		opts = append(opts, oci.WithMounts([]specs.Mount{{Destination: "/gate", Type: "bind", Source: s.gate, Options: []string{"rbind", "ro"}}}))
	}
	return s.bare.startWith(s.bare.in(ctx), i, out, opts...)
}

// startPods starts the pods, and waits until all run.
func (s *streams) startPods(ctx context.Context, containers int) error {
	for i := range containers {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: s.name(i), Labels: map[string]string{"app": "chatty" + s.of}}}
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.TerminationGracePeriodSeconds = new(int64)
		c := corev1.Container{Name: "c", Image: box, Command: []string{"sh", "-c", s.script}}
		if s.gate != "" {
			c.VolumeMounts = []corev1.VolumeMount{{Name: "gate", MountPath: "/gate", ReadOnly: true}}
			p.Spec.Volumes = []corev1.Volume{{Name: "gate", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: s.gate}}}}
		}
		p.Spec.Containers = []corev1.Container{c}
		if _, err := s.n.client.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return s.phase(ctx, containers, corev1.PodRunning)
}

func (s *streams) ended(ctx context.Context, containers int) error {
	return s.phase(ctx, containers, corev1.PodSucceeded)
}

// phase waits until all pods are in it.
func (s *streams) phase(ctx context.Context, containers int, phase corev1.PodPhase) error {
	there := map[string]bool{}
	open := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = "app=chatty" + s.of
		return s.n.client.CoreV1().Pods(namespace).Watch(ctx, o)
	}
	seen, err := expect(ctx, fmt.Sprintf("%d pods that are %s", containers, phase), open, func(e watch.Event) bool {
		if p, ok := e.Object.(*corev1.Pod); ok {
			there[p.Name] = p.Status.Phase == phase
		}
		return count(there) == containers
	})
	if err != nil {
		return err
	}
	_, err = seen.wait(ctx, patience)
	return err
}

// clean removes the pods, the bare containers and what they wrote.
func (s *streams) clean(ctx context.Context, containers int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	err := each(containers, func(i int) error {
		return errors.Join(s.n.client.CoreV1().Pods(namespace).Delete(ctx, s.name(i), metav1.DeleteOptions{}), s.bare.remove(s.bare.in(ctx), i))
	})
	if s.gate != "" {
		err = errors.Join(err, os.RemoveAll(s.gate))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: clean up:", err)
	}
}
