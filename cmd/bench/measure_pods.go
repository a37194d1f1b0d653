package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// patience is how long pods may take; the aims are far below.
const patience = 45 * time.Second

// measureReady pushes a new Deployment of one replica, whose image is present, and waits until its pod is ready.
func measureReady(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		fromPush := b.row(row{Name: "1 replica ready, from the push's start", Unit: "s", Aim: 0.25})
		fromApplied := b.row(row{Name: "1 replica ready, from the line applied", Unit: "s"})
		r, err := tenManifests(ctx, n, "ready")
		if err != nil {
			return err
		}
		for i := range quick * b.rounds {
			app := fmt.Sprint("web-", i)
			p, at, err := n.pushUntilReady(ctx, r, app, "v1", 1)
			if err != nil {
				return err
			}
			fromPush.ours(at.Sub(p.started).Seconds())
			fromApplied.ours(at.Sub(p.appliedAt).Seconds())
		}
		return nil
	})
}

// pushUntilReady pushes a Deployment, and returns when all its pods were ready.
func (n *node) pushUntilReady(ctx context.Context, r *repository, app, version string, replicas int) (push, time.Time, error) {
	s, err := n.readyPods(ctx, app, replicas)
	if err != nil {
		return push{}, time.Time{}, err
	}
	p, err := r.change(ctx, map[string]string{app + ".yaml": deployment(app, version, replicas, false)})
	if err != nil {
		s.stop()
		return p, time.Time{}, err
	}
	at, err := s.wait(ctx, patience)
	return p, at, err
}

const many = 50

// measureReplicas raises a Deployment from no replicas to 50, beside a bare loop that starts as many containers in the same
// containerd.
func measureReplicas(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		rw := b.row(row{Name: "50 replicas ready, from the push's start", Unit: "s", FloorIs: "bare loop", Aim: 2.5, AimRatio: 1.4})
		r, err := tenManifests(ctx, n, "replicas")
		if err != nil {
			return err
		}
		bare, err := newBareLoop(ctx, n)
		if err != nil {
			return err
		}
		defer bare.close()
		for i := range b.rounds {
			ours := func() error {
				p, at, err := n.pushUntilReady(ctx, r, "many", "v1", many)
				if err != nil {
					return err
				}
				rw.ours(at.Sub(p.started).Seconds())
				_, _, err = n.pushUntilReady(ctx, r, "many", "v1", 0)
				return err
			}
			theirs := func() error {
				took, err := bare.startAll(ctx, many)
				if err != nil {
					return err
				}
				rw.floor(took.Seconds())
				return nil
			}
			if err := turns(i, ours, theirs); err != nil {
				return err
			}
		}
		return nil
	})
}

// measureRolling changes the image of ten replicas that are probed, to and fro.
func measureRolling(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		rw := b.row(row{Name: "rolling update of 10, from the push's start", Unit: "s", Aim: 1.2})
		r, err := tenManifests(ctx, n, "rolling")
		if err != nil {
			return err
		}
		versions := []string{"v1", "v2"}
		for i := range b.rounds + 1 { // the first only brings them up
			s, err := n.rolledOut(ctx, "web", hello(versions[i%2]))
			if err != nil {
				return err
			}
			p, err := r.change(ctx, map[string]string{"web.yaml": deployment("web", versions[i%2], 10, true)})
			if err != nil {
				s.stop()
				return err
			}
			at, err := s.wait(ctx, patience)
			if err != nil {
				return err
			}
			if i > 0 {
				rw.ours(at.Sub(p.started).Seconds())
			}
			if err := n.settled(ctx, "web", 10); err != nil {
				return err
			}
		}
		return nil
	})
}

// rolledOut waits until a Deployment has the image in all replicas, and no others: what kubectl rollout status waits for.
func (n *node) rolledOut(ctx context.Context, name, image string) (*sight, error) {
	open := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = "metadata.name=" + name
		return n.client.AppsV1().Deployments(namespace).Watch(ctx, o)
	}
	return expect(ctx, "complete rollout of "+name, open, func(e watch.Event) bool {
		d, ok := e.Object.(*appsv1.Deployment)
		if !ok || d.Spec.Template.Spec.Containers[0].Image != image || d.Status.ObservedGeneration < d.Generation {
			return false
		}
		want, st := *d.Spec.Replicas, d.Status
		return st.UpdatedReplicas == want && st.Replicas == want && st.AvailableReplicas == want
	})
}

// settled waits until the pods that have to go are gone, so that a round does not pay for the one before.
func (n *node) settled(ctx context.Context, app string, replicas int) error {
	s, err := n.readyPods(ctx, app, replicas)
	if err != nil {
		return err
	}
	_, err = s.wait(ctx, patience)
	return err
}
