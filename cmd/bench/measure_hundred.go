package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const hundred = 100

// measureHundred raises a Deployment to 100 replicas and lowers it to none; and, while they run, kills the daemon and starts
// it again: until its controllers have acted on an object that is new, and whether a container was touched by it.
func measureHundred(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		up := b.row(row{Name: "100 pods ready, from the push's start", Unit: "s", FloorIs: "bare loop", Aim: 5})
		down := b.row(row{Name: "100 pods deleted, from the push's start", Unit: "s", Aim: 4})
		again := b.row(row{Name: "daemon killed beside 100 pods: its start until controllers work", Unit: "s", Aim: 1})
		r, err := tenManifests(ctx, n, "hundred")
		if err != nil {
			return err
		}
		bare, err := newBareLoop(ctx, n)
		if err != nil {
			return err
		}
		defer bare.close()
		for range b.rounds {
			took, err := bare.startAll(ctx, hundred)
			if err != nil {
				return err
			}
			up.floor(took.Seconds())
			p, at, err := n.pushUntilReady(ctx, r, "many", "v1", hundred)
			if err != nil {
				return err
			}
			up.ours(at.Sub(p.started).Seconds())
			took, err = n.killed(ctx)
			if err != nil {
				return err
			}
			again.ours(took.Seconds())
			// It serves Git elsewhere now.
			if err := errors.Join(r.git(ctx, "remote", "remove", "mainstay"), r.on(ctx, n)); err != nil {
				return err
			}
			if p, at, err = n.pushUntilReady(ctx, r, "many", "v1", 0); err != nil {
				return err
			}
			down.ours(at.Sub(p.started).Seconds())
		}
		return nil
	})
}

// killed kills the daemon and starts it again. It returns how long that took until a Deployment, made as soon as the API
// answered, had its ReplicaSet. It fails if a container is another one then.
func (n *node) killed(ctx context.Context) (time.Duration, error) {
	before, err := n.containers(ctx)
	if err != nil {
		return 0, err
	}
	if err := n.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return 0, err
	}
	<-n.done
	n.cmd = nil
	started := time.Now()
	if _, err := n.up(ctx); err != nil {
		return 0, err
	}
	if err := n.connect(); err != nil {
		return 0, err
	}
	took, err := n.controllersWork(ctx, started)
	if err != nil {
		return 0, err
	}
	after, err := n.containers(ctx)
	if err != nil {
		return 0, err
	}
	for pod, id := range before {
		if after[pod] != id {
			return 0, fmt.Errorf("the restart touched a container of the pod %s", pod)
		}
	}
	return took, nil
}

// controllersWork makes a Deployment, waits for its ReplicaSet, and returns how long ago started was then.
func (n *node) controllersWork(ctx context.Context, started time.Time) (time.Duration, error) {
	const name = "probe"
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}}
	d.Spec.Replicas = new(int32)
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	d.Spec.Template.Labels = d.Spec.Selector.MatchLabels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: hello("v1")}}
	open := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = "app=" + name
		return n.client.AppsV1().ReplicaSets(namespace).Watch(ctx, o)
	}
	s, err := expect(ctx, "ReplicaSet of "+name, open, func(e watch.Event) bool { return e.Type == watch.Added })
	if err != nil {
		return 0, err
	}
	if _, err := n.client.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		s.stop()
		return 0, err
	}
	at, err := s.wait(ctx, patience)
	background := metav1.DeletePropagationBackground
	return at.Sub(started), errors.Join(err, n.client.AppsV1().Deployments(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background}))
}

// containers are the IDs of the pods' containers, by pod.
func (n *node) containers(ctx context.Context) (map[string]string, error) {
	pods, err := n.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			ids[p.Name] = fmt.Sprint(c.ContainerID, c.RestartCount)
		}
	}
	return ids, nil
}
