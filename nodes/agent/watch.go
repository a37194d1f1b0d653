package agent

import (
	"context"
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/static"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// users are the pods that refer to an object.
type users map[store.Key]map[types.UID]bool

func (u users) add(uid types.UID, keys []store.Key) {
	for _, k := range keys {
		if u[k] == nil {
			u[k] = map[types.UID]bool{}
		}
		u[k][uid] = true
	}
}

func (u users) remove(uid types.UID, keys []store.Key) {
	for _, k := range keys {
		if delete(u[k], uid); len(u[k]) == 0 {
			delete(u, k)
		}
	}
}

// watchStore follows the store.
func (a *Agent) watchStore(ctx context.Context) error {
	for ctx.Err() == nil {
		from := a.resync()
		for d, err := range store.Watch(ctx, a.cfg.Reader, from, store.Query{}) {
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, store.ErrCompacted) {
					a.cfg.Log.Warn("following the store failed, reading it anew", "err", err)
				}
				break
			}
			a.Followed(d)
		}
	}
	return ctx.Err()
}

// resync wakes all pods that are here or wanted, and returns the revision at which it looked.
func (a *Agent) resync() store.Revision {
	s := a.cfg.Reader.Snapshot()
	for p := range store.List[*corev1.Pod](s, store.OnNode(a.cfg.Node.Name)) {
		if _, mirror := static.Mirrored(p); mirror {
			a.mirrored(s, p)
		} else {
			a.know(p.UID, s.Key(p))
		}
	}
	for v := range store.List[*corev1.PersistentVolume](s) {
		a.volumeChanged(v)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, uid := range slices.Sorted(maps.Keys(a.workers)) { // in the same order each time
		a.loop.Wake(uid)
	}
	return s.Revision()
}

// Followed tells the Agent of a change in the store. While Run runs it hears of all by itself.
func (a *Agent) Followed(d store.Delta) {
	for _, c := range d.Changes {
		if old, ok := c.Old.(*corev1.Pod); ok {
			a.wakeKnown(local(old))
			if _, mirror := static.Mirrored(old); mirror && c.New == nil {
				a.unmirrored(old)
			}
		}
		switch o := c.New.(type) {
		case *corev1.Pod:
			if o.Spec.NodeName != a.cfg.Node.Name {
				continue
			}
			if _, mirror := static.Mirrored(o); mirror {
				a.mirrored(a.cfg.Reader.Snapshot(), o)
			} else if stored(a.cfg.Reader.Snapshot(), o) {
				a.know(o.UID, a.cfg.Reader.Snapshot().Key(o))
				a.Wake(o.UID)
			}
		case *corev1.Node:
			if o.Name == a.cfg.Node.Name && !a.known(a.cfg.Reader.Snapshot()) {
				a.heart.Wake(struct{}{})
			}
		case *corev1.PersistentVolume:
			a.volumeChanged(o)
			a.referred(a.cfg.Reader.Snapshot().Key(o))
		case *corev1.ConfigMap, *corev1.Secret, *corev1.ServiceAccount, *corev1.PersistentVolumeClaim:
			a.referred(a.cfg.Reader.Snapshot().Key(o))
		}
	}
}

// stored tells whether a pod of which was heard is still there: who hears late must not begin anew with what is gone.
func stored(s *store.Snapshot, p *corev1.Pod) bool {
	now, ok := store.Get[*corev1.Pod](s, p.Namespace, p.Name)
	return ok && now.UID == p.UID
}

// wakeKnown wakes a pod that has a worker.
func (a *Agent) wakeKnown(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.workers[uid] != nil {
		a.loop.Wake(uid)
	}
}

// referred has the pods that refer to an object look at it anew. What failed for its sake is tried again at once.
func (a *Agent) referred(k store.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, uid := range slices.Sorted(maps.Keys(a.users[k])) { // in the same order each time
		if w := a.workers[uid]; w != nil {
			w.mail = append(w.mail, (*worker).forgive)
		}
		a.loop.Wake(uid)
	}
}

// know makes a worker for a pod, if there is none. The key may be empty: only what is left of it is here.
func (a *Agent) know(uid types.UID, k store.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, ok := a.workers[uid]
	if !ok {
		w = &worker{uid: uid}
		a.workers[uid] = w
		a.loop.Wake(uid)
	}
	if w.key.Name == "" {
		w.key = k
	}
}
