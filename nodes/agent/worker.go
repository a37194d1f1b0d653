package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// worker is what is known of one pod. All but what is marked so is touched only in the pod's turn, of which there is one
// at a time.
type worker struct {
	uid     types.UID
	key     store.Key // under Agent.mu
	seen    pod.Seen
	made    string                          // what the volumes were made from
	again   time.Time                       // when they are to be made anew, as their tokens get old; zero: never
	refs    []store.Key                     // what the pod refers to
	copying map[runtime.ID]<-chan struct{}  // runs whose output is, or was, copied to the log; closed at its end
	pulls   map[pod.Move]context.CancelFunc // end the pulls that go on
	hooks   map[pod.HookKey]context.CancelFunc
	orphan  *corev1.Pod // what stands for a pod that is gone
	own     bool        // it is of this node's own

	mail   []func(*worker)   // what jobs found, for the next turn; under Agent.mu
	status *corev1.PodStatus // the last one; under Agent.mu
}

// forgive has what failed for the sake of a ConfigMap or Secret tried again.
func (w *worker) forgive() {
	for m := range w.seen.Failed {
		if m.Op == pod.MakeVolumes || m.Op == pod.Create || m.Op == pod.Pull {
			delete(w.seen.Failed, m)
		}
	}
}

// moves that a pod may make before others have their turn.
const moves = 20

// turn looks at a pod, decides, and does what was decided, until there is nothing to do.
func (a *Agent) turn(ctx context.Context, uid types.UID) (time.Duration, error) {
	hold := &held{agent: a, uid: uid}
	defer hold.close()
	w, key := a.open(uid)
	if w == nil {
		return 0, nil
	}
	for range moves {
		s := a.cfg.Reader.Snapshot()
		if err := a.look(ctx, w); err != nil {
			return 0, err
		}
		want := a.want(s, w, key)
		if want == nil {
			return 0, nil
		}
		a.refer(w, want, s)
		a.hush(w)
		w.seen.Refused = pod.Refuse(want, a.place)
		next := pod.Decide(want, w.seen, a.cfg.Now())
		if next.Gone {
			a.forget(w) // before it is reported: what happens to the pod after that begins anew
		}
		a.note(w, want, key, next, s)
		if next.Gone {
			return 0, nil
		}
		hold.sync(next.Steps)
		if len(next.Steps) == 0 {
			return w.soonest(a.patient(w, want, s, next.After), a.cfg.Now()), nil
		}
		if done := a.act(ctx, hold, w, want, s, next.Steps); !done {
			return next.After, nil // a free slot wakes it
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		a.collect(w)
	}
	return time.Millisecond, nil
}

// soonest is when the pod must be looked at again: after d (0: when something happens), or when its volumes get old.
func (w *worker) soonest(d time.Duration, now time.Time) time.Duration {
	if rest := w.again.Sub(now); rest > 0 && w.seen.Volumes == pod.Here && (d == 0 || rest < d) {
		return rest
	}
	return d
}

// open takes up a pod for a turn, with what came in for it.
func (a *Agent) open(uid types.UID) (*worker, store.Key) {
	a.mu.Lock()
	w := a.workers[uid]
	a.mu.Unlock()
	if w == nil {
		return nil, store.Key{}
	}
	a.collect(w)
	a.mu.Lock()
	defer a.mu.Unlock()
	return w, w.key
}

// collect takes in what jobs have found.
func (a *Agent) collect(w *worker) {
	a.mu.Lock()
	mail := w.mail
	w.mail = nil
	a.mu.Unlock()
	for _, m := range mail {
		m(w)
	}
}

// post puts something into a worker's mail, and wakes it.
func (a *Agent) post(w *worker, m func(*worker)) {
	a.mu.Lock()
	w.mail = append(w.mail, m)
	a.mu.Unlock()
	a.Wake(w.uid)
}

// look looks at what is there of a pod.
func (a *Agent) look(ctx context.Context, w *worker) error {
	box, err := a.cfg.Runtime.Sandbox(ctx, w.uid)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
		w.seen.Sandbox = nil
	case err != nil:
		return fmt.Errorf("look at pod %s: %w", w.uid, err)
	default:
		w.seen.Sandbox = &box
	}
	w.seen.Host = a.place.Host
	w.endHooks()
	w.seen.Checks = a.prober.Found(w.uid)
	a.listen(ctx, w)
	return nil
}

// want is what is wanted of a pod: what the store says, or its end if it is not in the store. nil: nothing is known yet,
// or nothing is left.
func (a *Agent) want(s *store.Snapshot, w *worker, key store.Key) *corev1.Pod {
	if p, ok := a.staticPod(s, w.uid); ok {
		w.own, w.orphan = true, nil
		return p
	}
	if p, ok := store.Get[*corev1.Pod](s, key.Namespace, key.Name); ok && p.UID == w.uid {
		w.orphan = nil
		return p
	}
	if w.orphan == nil {
		a.mu.Lock()
		whole := a.whole
		a.mu.Unlock()
		if !whole {
			return nil
		}
		box := runtime.Sandbox{Pod: w.uid, Namespace: key.Namespace, Name: key.Name}
		if w.seen.Sandbox != nil {
			box = *w.seen.Sandbox
		}
		w.orphan = pod.Orphan(box, a.cfg.Now())
	}
	return w.orphan
}

// refer keeps account of what a pod refers to, and whether its volumes still show it.
func (a *Agent) refer(w *worker, want *corev1.Pod, s *store.Snapshot) {
	old := !w.again.IsZero() && !a.cfg.Now().Before(w.again)
	w.seen.Stale = w.seen.Volumes == pod.Here && (old || w.made != volume.Version(want, s))
	refs := append(volume.Refs(want, s.Kinds()), pod.Refs(want, s.Kinds())...)
	if len(refs) == 0 && len(w.refs) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users.remove(w.uid, w.refs)
	w.refs = refs
	a.users.add(w.uid, w.refs)
}

// note passes on what was decided: the status, events, and what is to be probed.
func (a *Agent) note(w *worker, want *corev1.Pod, key store.Key, next pod.Next, s *store.Snapshot) {
	if want.DeletionTimestamp != nil {
		for move, end := range w.pulls {
			end()
			delete(w.pulls, move)
		}
	}
	a.prober.Keep(w.uid, next.Checks)
	if w.orphan != nil {
		return
	}
	w.seen.Status = &next.Status
	a.mu.Lock()
	w.status = &next.Status
	a.mu.Unlock()
	if w.own {
		a.reflect(s, want, next.Status, next.Gone)
	} else {
		a.report.pod(want, PodReport{Key: key, UID: w.uid, Status: next.Status, Gone: next.Gone})
	}
	for _, e := range next.Events {
		a.podEvent(want, e)
	}
}

// forget ends the account of a pod of which nothing is left.
func (a *Agent) forget(w *worker) {
	a.prober.Keep(w.uid, nil)
	a.report.forget(w.uid, w.orphan != nil)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users.remove(w.uid, w.refs)
	delete(a.workers, w.uid)
	a.release(w.uid)
}

// address is the pod's, as far as it is known.
func (w *worker) address(want *corev1.Pod) netip.Addr {
	if w.seen.Address.IsValid() {
		return w.seen.Address
	}
	addr, _ := netip.ParseAddr(want.Status.PodIP)
	return addr
}

func (w *worker) container(id runtime.ID) *runtime.Container {
	if w.seen.Sandbox == nil {
		return nil
	}
	for i := range w.seen.Sandbox.Containers {
		if c := &w.seen.Sandbox.Containers[i]; c.ID == id {
			return c
		}
	}
	return nil
}

// world is what volumes and variables come from.
func (a *Agent) world(w *worker, s *store.Snapshot) volume.World {
	world := volume.World{Snapshot: s, Place: a.place, Address: w.seen.Address, Tokens: a.cfg.Tokens}
	if w.seen.Sandbox != nil {
		world.Images = w.seen.Sandbox.Images
	}
	return world
}
