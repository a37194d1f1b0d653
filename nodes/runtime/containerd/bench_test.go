package containerd_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/containerd/containerd"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/cio"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/oci"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

const (
	benchPods = 50
	workers   = 2
)

// BenchmarkFiftyPods starts and removes 50 pods of one container each, with two workers, and does the same with bare
// containers by the plain calls of containerd's client. Ratios are of ours to those.
func BenchmarkFiftyPods(b *testing.B) {
	n := newNode(b)
	ctx := namespaces.WithNamespace(context.Background(), "test")
	image, err := n.Client.GetImage(ctx, runtimetest.ImageName)
	n.ok(err)
	bare := bareLoop{n: n, image: image}
	var ours, theirs [2]sample
	for b.Loop() {
		for i, step := range []func(int) error{bare.start, bare.remove} {
			theirs[i].add(n, step)
		}
		for i, step := range []func(int) error{n.startPod, n.removePod} {
			ours[i].add(n, step)
		}
	}
	rounds := float64(b.N)
	b.ReportMetric(0, "ns/op")
	for i, verb := range []string{"start", "remove"} {
		b.ReportMetric(ours[i].wall.Seconds()/rounds, "s-"+verb)
		b.ReportMetric(ours[i].wall.Seconds()/theirs[i].wall.Seconds(), verb+"-ratio")
		b.ReportMetric(ours[i].cpu.Seconds()/theirs[i].cpu.Seconds(), verb+"-cpu-ratio")
		b.ReportMetric(ours[i].cpu.Seconds()*1000/rounds/benchPods, "cpu-ms-"+verb)
	}
}

// A sample is the time that something took: by the clock, and of the CPUs.
type sample struct{ wall, cpu time.Duration }

func (s *sample) add(n *node, step func(int) error) {
	start, busy := time.Now(), busyTime(n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < benchPods; i += workers {
				if err := step(i); err != nil {
					n.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.wall += time.Since(start)
	s.cpu += busyTime(n) - busy
}

// busyTime is the CPU time that the node and this process have spent. Others on this machine do not count.
func busyTime(n *node) time.Duration {
	var own unix.Rusage
	n.ok(unix.Getrusage(unix.RUSAGE_SELF, &own))
	sum := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	if !n.Tree.V2() {
		data, err := os.ReadFile("/sys/fs/cgroup/cpuacct" + n.Group + "/cpuacct.usage")
		n.ok(err)
		ns, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		n.ok(err)
		return sum + time.Duration(ns)
	}
	data, err := os.ReadFile(filepath.Join(n.Tree.Unified(n.Group), "cpu.stat"))
	n.ok(err)
	var us int64
	_, err = fmt.Sscanf(string(data), "usage_usec %d", &us)
	n.ok(err)
	return sum + time.Duration(us)*time.Microsecond
}

func benchPod(i int) types.UID { return types.UID(fmt.Sprint("bench-", i)) }

func (n *node) startPod(i int) error {
	ctx := context.Background()
	uid := benchPod(i)
	_, err := n.Runtime.MakeSandbox(ctx, runtime.SandboxSpec{
		Pod: uid, Namespace: "default", Name: string(uid), Hostname: string(uid), QoS: "Burstable",
		Resources: runtime.Resources{CPUShares: 100, MemoryLimit: 64 << 20},
	})
	if err != nil {
		return err
	}
	id := runtime.ID{Pod: uid, Name: "web"}
	if err := n.Runtime.Create(ctx, runtime.ContainerSpec{
		ID: id, Image: runtimetest.ImageName, Args: []string{"wait"}, Resources: runtime.Resources{CPUShares: 100, MemoryLimit: 64 << 20},
	}); err != nil {
		return err
	}
	return n.Runtime.Start(ctx, id)
}

func (n *node) removePod(i int) error {
	return n.Runtime.RemoveSandbox(context.Background(), benchPod(i))
}

// bareLoop does the least that starts a container: no pod, no limits, no output.
type bareLoop struct {
	n     *node
	image client.Image
}

func (l bareLoop) start(i int) error {
	ctx := namespaces.WithNamespace(context.Background(), "test")
	id := fmt.Sprint("bare-", i)
	c, err := l.n.Client.NewContainer(ctx, id,
		client.WithImage(l.image),
		client.WithNewSnapshot(id, l.image),
		client.WithRuntime("io.containerd.runc.v2", &runcoptions.Options{Root: filepath.Join(l.n.Dir, "runc")}),
		client.WithNewSpec(oci.WithImageConfig(l.image), oci.WithProcessArgs("/prog", "wait"), oci.WithCgroup(l.n.Group+"/bare/"+id)))
	if err != nil {
		return err
	}
	task, err := c.NewTask(ctx, cio.NullIO)
	if err != nil {
		return err
	}
	return task.Start(ctx)
}

func (l bareLoop) remove(i int) error {
	ctx := namespaces.WithNamespace(context.Background(), "test")
	c, err := l.n.Client.LoadContainer(ctx, fmt.Sprint("bare-", i))
	if err != nil {
		return err
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := task.Delete(ctx, client.WithProcessKill); err != nil {
		return err
	}
	return c.Delete(ctx, client.WithSnapshotCleanup)
}

// BenchmarkDaemonStart is what the start of a daemon waits for: with a containerd that has to be started, and with one that
// runs 50 pods.
func BenchmarkDaemonStart(b *testing.B) {
	b.Run("first", func(b *testing.B) {
		n := emptyNode(b)
		for b.Loop() {
			n.start()
			b.StopTimer()
			n.stop()
			n.ok(n.Server.Stop(n.background()))
			b.StartTimer()
		}
	})
	b.Run("again", func(b *testing.B) {
		n := newNode(b)
		for i := range benchPods {
			n.ok(n.startPod(i))
		}
		for b.Loop() {
			b.StopTimer()
			n.stop()
			b.StartTimer()
			n.start()
		}
		n.ok(n.Runtime.Clear(n.background()))
	})
}

// BenchmarkExec runs a command in a container with its output read, as kubectl exec does, and by the plain calls of
// containerd's client, as ctr task exec does. The ratio is of ours to those.
func BenchmarkExec(b *testing.B) {
	n := newNode(b)
	n.ok(n.startPod(0))
	ctx := namespaces.WithNamespace(context.Background(), "test")
	id := runtime.ID{Pod: benchPod(0), Name: "web"}
	container, err := n.Client.LoadContainer(ctx, id.String())
	n.ok(err)
	task, err := container.Task(ctx, nil)
	n.ok(err)
	spec, err := container.Spec(ctx)
	n.ok(err)
	spec.Process.Args = []string{"/prog", script.Print, "hello"}
	var ours, theirs sample
	rounds := 0
	for b.Loop() {
		rounds++
		ours.one(n, func() error {
			var out bytes.Buffer
			code, err := n.Runtime.Exec(context.Background(), id, runtime.Exec{Command: spec.Process.Args, Stdout: &out})
			return said(code, out.String(), err)
		})
		theirs.one(n, func() error {
			var out bytes.Buffer
			creator := cio.NewCreator(cio.WithStreams(nil, &out, io.Discard), cio.WithFIFODir(n.Dir))
			p, err := task.Exec(ctx, fmt.Sprint("bare-", rounds), spec.Process, creator)
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
			status := <-exit
			p.IO().Wait()
			if _, err := p.Delete(ctx); err != nil {
				return err
			}
			return said(int(status.ExitCode()), out.String(), status.Error())
		})
	}
	b.ReportMetric(ours.wall.Seconds()*1000/float64(rounds), "ms-exec")
	b.ReportMetric(ours.cpu.Seconds()*1000/float64(rounds), "cpu-ms-exec")
	b.ReportMetric(ours.wall.Seconds()/theirs.wall.Seconds(), "exec-ratio")
	b.ReportMetric(ours.cpu.Seconds()/theirs.cpu.Seconds(), "exec-cpu-ratio")
	n.ok(n.removePod(0))
}

func said(code int, out string, err error) error {
	if err == nil && (code != 0 || out != "hello\n") {
		err = fmt.Errorf("it ended with %d and said %q", code, out)
	}
	return err
}

// one adds one run of something.
func (s *sample) one(n *node, step func() error) {
	start, busy := time.Now(), busyTime(n)
	n.ok(step())
	s.wall += time.Since(start)
	s.cpu += busyTime(n) - busy
}
