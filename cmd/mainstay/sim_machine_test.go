package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var errLuck = errors.New("bad luck")

// runtimeFault is asked before each call of the runtime: others may go first, it may fail, the daemon may die in it. A
// command of a probe is one with the probe, which has a deadline by the real clock.
func (w *sim) runtimeFault(c runtimetest.Call) runtimetest.Fault {
	if c.Verb != "Exec" && !w.pause() {
		return runtimetest.Fault{Err: errDead, Done: w.rng.IntN(2) == 0}
	}
	w.check.call(c)
	if w.fails(c.Verb) {
		return runtimetest.Fault{Err: errLuck, Done: w.rng.IntN(2) == 0}
	}
	return runtimetest.Fault{}
}

// faultyTables are the tables as the service loop has them.
func (w *sim) faultyTables() service.Tables {
	fail := func() (before, after error) {
		if !w.pause() {
			return errDead, nil
		}
		if w.fails("a table") {
			w.life.failed = w.now
			if w.rng.IntN(2) == 0 {
				return errLuck, nil
			}
			return nil, errLuck
		}
		return nil, nil
	}
	return service.Tables{
		Frontends: target.Faulty[service.Frontend, service.Set]{Target: w.tables.Frontends, Fail: fail},
		Slots:     target.Faulty[service.Slot, service.ID]{Target: w.tables.Slots, Fail: fail},
		Backends:  target.Faulty[service.ID, service.Backend]{Target: w.tables.Backends, Fail: fail},
	}
}

// grace ends when calls that are on their way have arrived.
func (w *sim) grace(context.Context) error {
	if !w.pause() || w.rng.IntN(2) == 0 && !w.await(w.now.Add(20*time.Millisecond)) {
		return errDead
	}
	return nil
}

// simNetwork is the pods' network: it outlives the daemon.
type simNetwork struct {
	sim       *sim
	addresses map[types.UID]netip.Addr
	next      netip.Addr
	freed     []netip.Addr // used again as late as can be
}

func newSimNetwork(w *sim) *simNetwork {
	return &simNetwork{sim: w, addresses: map[types.UID]netip.Addr{}, next: simPods.Addr().Next().Next()}
}

// reset takes back all addresses.
func (n *simNetwork) reset() {
	n.freed = append(n.freed, slices.SortedFunc(maps.Values(n.addresses), netip.Addr.Compare)...)
	clear(n.addresses)
}

func (n *simNetwork) fail() error {
	switch {
	case !n.sim.pause():
		return errDead
	case n.sim.chance():
		return errLuck
	}
	return nil
}

func (n *simNetwork) Attach(_ context.Context, uid types.UID, netns string) (netip.Addr, error) {
	if err := n.fail(); err != nil {
		return netip.Addr{}, err
	}
	if netns == "" {
		return netip.Addr{}, errors.New("no network namespace")
	}
	a, ok := n.addresses[uid]
	switch {
	case ok:
		return a, nil
	case simPods.Contains(n.next.Next()):
		a, n.next = n.next, n.next.Next()
	default:
		a, n.freed = n.freed[0], n.freed[1:]
	}
	n.addresses[uid] = a
	if n.sim.chance() {
		return netip.Addr{}, errLuck // it was done all the same
	}
	return a, nil
}

func (n *simNetwork) Detach(_ context.Context, uid types.UID) error {
	if err := n.fail(); err != nil {
		return err
	}
	if a, ok := n.addresses[uid]; ok {
		delete(n.addresses, uid)
		n.freed = append(n.freed, a)
	}
	return nil
}

func (n *simNetwork) Attached(context.Context) ([]types.UID, error) {
	return slices.Sorted(maps.Keys(n.addresses)), nil
}

// Withdrawn waits as the real one does, in the time of the simulation.
func (n *simNetwork) Withdrawn(_ context.Context, a netip.Addr) error {
	const patience = 2 * time.Second
	now, end := context.WithCancel(context.Background())
	end() // it is asked, and not waited for
	for until := n.sim.now.Add(patience); n.sim.life.services.Withdrawn(now, a) != nil; {
		if !n.sim.now.Before(until) {
			n.sim.check.late(a)
			return context.DeadlineExceeded
		}
		if !n.sim.await(until) {
			return errDead
		}
	}
	return nil
}

// simImages are the images on the machine, and in a registry.
type simImages struct {
	sim  *sim
	here map[string]bool
}

// simRegistry has images that do their work, one that ends after a while, and one that is never ready.
var simRegistry = map[string]runtimetest.FakeImage{
	"example.com/web:v1":    {Digest: "sha256:1", Entrypoint: []string{"/prog"}, Cmd: []string{"wait"}},
	"example.com/web:v2":    {Digest: "sha256:2", Entrypoint: []string{"/prog"}, Cmd: []string{"sleep", "1s", "wait"}},
	"example.com/web:v3":    {Digest: "sha256:3", Entrypoint: []string{"/prog"}, Cmd: []string{"wait"}},
	"example.com/web:crash": {Digest: "sha256:4", Entrypoint: []string{"/prog"}, Cmd: []string{"sleep", "3s", "exit", "1"}},
	"example.com/web:deaf":  {Digest: "sha256:5", Entrypoint: []string{"/serve"}, Programs: []string{"/serve"}},
	"example.com/web:task":  {Digest: "sha256:7", Entrypoint: []string{"/prog"}, Cmd: []string{"sleep", "2s", "exit", "0"}},
	"example.com/web:tough": {Digest: "sha256:6", Entrypoint: []string{"/prog"}, Cmd: []string{"stubborn", "wait"}},
}

func newSimImages(w *sim) *simImages { return &simImages{w, map[string]bool{}} }

func (i *simImages) Get(_ context.Context, ref string) (image.Image, error) {
	if !i.here[ref] {
		return image.Image{}, image.ErrNotFound
	}
	return image.Image{Ref: ref, ID: simRegistry[ref].Digest}, nil
}

// Pull is called in a goroutine of the puller's, for which the agent waits.
func (i *simImages) Pull(_ context.Context, ref string, _ image.Auth, _ image.Follow) (image.Image, error) {
	img, ok := simRegistry[ref]
	switch {
	case i.sim.chance():
		return image.Image{}, &image.Error{Reason: image.Unreachable, Ref: ref, Host: "example.com", Err: errLuck}
	case !ok:
		return image.Image{}, &image.Error{Reason: image.NotFound, Ref: ref}
	}
	i.here[ref] = true
	i.sim.fake.AddImage(ref, img)
	return image.Image{Ref: ref, ID: img.Digest}, nil
}

func (i *simImages) Import(context.Context, io.Reader) ([]image.Image, error) { return nil, nil }
func (i *simImages) List(context.Context) ([]image.Image, error)              { return nil, nil }
func (i *simImages) Remove(context.Context, string) error                     { return nil }
func (i *simImages) Disk(context.Context) (image.Disk, error)                 { return image.Disk{}, nil }

// simTokens are tokens that need no key.
type simTokens struct{ sim *sim }

func (k simTokens) ForPod(s *store.Snapshot, p *corev1.Pod, _ *corev1.ServiceAccountTokenProjection, old string) (string, time.Time, error) {
	const life = 48 * time.Minute
	account, ok := store.Get[*corev1.ServiceAccount](s, p.Namespace, p.Spec.ServiceAccountName)
	switch begun, err := time.Parse(time.RFC3339Nano, old); {
	case !ok:
		return "", time.Time{}, fmt.Errorf("serviceaccount %q not found", p.Spec.ServiceAccountName)
	case err == nil && k.sim.now.Before(begun.Add(life)) && begun.After(account.CreationTimestamp.Time):
		return old, begun.Add(life), nil
	}
	return k.sim.now.Format(time.RFC3339Nano), k.sim.now.Add(life), nil
}

// misfortune is what happens by itself, or by somebody's hand, beside the commits.
func (w *sim) misfortune() {
	if w.luck < 1 && w.rng.IntN(10) == 0 {
		w.maintain(w.rng.IntN(3) == 0)
	}
	boxes, _ := w.fake.Sandboxes(context.Background())
	var running []runtime.ID
	for _, b := range boxes {
		for _, c := range b.Containers {
			if c.State == runtime.Running {
				running = append(running, c.ID)
			}
		}
	}
	if len(running) == 0 || w.luck == 1 {
		return
	}
	id := running[w.rng.IntN(len(running))]
	switch w.rng.IntN(10) {
	case 0, 1:
		w.fake.Exit(id, w.rng.IntN(2))
	case 2:
		w.fake.OOM(id)
	case 3:
		w.fake.Lose(id)
	case 4:
		for _, ref := range slices.Sorted(maps.Keys(w.images.here)) {
			delete(w.images.here, ref)
			w.fake.RemoveImage(ref)
		}
	case 5:
		if w.rng.IntN(4) == 0 {
			w.bury()
			w.fake.Reboot()
			w.net.reset() // its namespaces are no more
			w.up = w.now.Add(5 * time.Second)
		}
	case 6, 7:
		w.deletePod(id.Pod, nil)
	case 8:
		now := int64(0)
		w.deletePod(id.Pod, &now)
	case 9:
		w.deleteSome()
	}
	w.rouse()
}

// byHand writes as somebody with kubectl would.
func (w *sim) byHand(fn func(*store.Tx) error) {
	if w.life == nil || w.life.doomed {
		return
	}
	_, err := w.life.store.Update(w.life.ctx, "kubectl", fn)
	switch {
	case errors.Is(err, store.ErrStopped):
		w.life.doomed = true
	case !errors.Is(err, store.ErrNoRoom):
		w.must(err)
	}
}

// maintained tells whether everything is to leave the node.
func maintained(s *store.Snapshot) bool {
	n, ok := store.Get[*corev1.Node](s, "", simNode)
	return ok && slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
}

// maintain has everything leave the node, or lets it come back.
func (w *sim) maintain(yes bool) {
	taint := corev1.Taint{Key: "maintenance", Effect: corev1.TaintEffectNoExecute}
	w.byHand(func(tx *store.Tx) error {
		n, ok := store.Get[*corev1.Node](tx.Snapshot, "", simNode)
		is := func(t corev1.Taint) bool { return t.Key == taint.Key }
		if !ok || slices.ContainsFunc(n.Spec.Taints, is) == yes {
			return nil
		}
		next := n.DeepCopy()
		if next.Spec.Taints = slices.DeleteFunc(next.Spec.Taints, is); yes {
			next.Spec.Taints = append(next.Spec.Taints, taint)
		}
		return tx.Update(next)
	})
}

func (w *sim) deletePod(uid types.UID, grace *int64) {
	w.byHand(func(tx *store.Tx) error {
		for p := range store.List[*corev1.Pod](tx.Snapshot) {
			if p.UID != uid {
				continue
			}
			next, gone, err := w.scheme.Of(p).Delete(p, metav1.DeleteOptions{GracePeriodSeconds: grace}, w.now)
			switch {
			case err != nil:
				return err
			case gone:
				return tx.Delete(tx.Key(p))
			case next != store.Object(p):
				return tx.Update(next)
			}
		}
		return nil
	})
}

// deleteSome deletes a ReplicaSet or an EndpointSlice.
func (w *sim) deleteSome() {
	w.byHand(func(tx *store.Tx) error {
		var all []store.Object
		for o := range tx.List(store.Query{}) {
			if kind := tx.Key(o).Kind.Kind; kind == "ReplicaSet" || kind == "EndpointSlice" {
				all = append(all, o)
			}
		}
		if len(all) == 0 {
			return nil
		}
		o := all[w.rng.IntN(len(all))]
		return control.Remove(tx, w.scheme.Of(o), o, metav1.DeletePropagationBackground, w.now)
	})
}

// letGo takes the finalizer from what waits for it.
func (l *simLife) letGo() bool {
	s := l.store.Snapshot()
	for p := range store.List[*corev1.Pod](s) {
		if p.DeletionTimestamp == nil || !slices.Contains(p.Finalizers, simFinalizer) || l.sim.rng.IntN(40) > 0 && l.sim.luck < 1 {
			continue
		}
		next := p.DeepCopy()
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == simFinalizer })
		var plan control.Plan
		plan.Update(next, "it is let go")
		w := control.World{Snapshot: s, Now: l.sim.now, Rand: l.rng}
		_, err := simStore{l.store, l.sim}.Update(l.ctx, simHolder, func(tx *store.Tx) error { return l.carrier.Carry(tx, w, simHolder, plan) })
		return err == nil
	}
	return false
}
