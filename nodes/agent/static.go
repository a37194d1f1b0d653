package agent

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/static"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// SetStatic says which pods this node runs by itself, all of them, and what is wrong with what it was to run. It is called
// before Run, and whenever there are others. A pod that is not there any more is ended with its grace; one that takes its
// name starts after that.
func (a *Agent) SetStatic(pods []*corev1.Pod, wrong []error) {
	a.mu.Lock()
	next := map[types.UID]*corev1.Pod{}
	for _, p := range pods {
		next[p.UID] = p
	}
	for uid, p := range a.static {
		if _, still := next[uid]; still || a.workers[uid] == nil {
			continue
		}
		if p.DeletionTimestamp == nil {
			p = p.DeepCopy()
			now := metav1.NewTime(a.cfg.Now())
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, p.Spec.TerminationGracePeriodSeconds
		}
		next[uid] = p
	}
	a.static = next
	a.mu.Unlock()
	for _, p := range pods {
		a.know(p.UID, a.keyOf(p))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid := range a.static {
		a.loop.Wake(uid)
	}
	for _, err := range wrong {
		a.cfg.Log.Error("a pod of this node's own cannot be run", "err", err)
		a.report.nodeEvent(warning("InvalidStaticPod", "", err.Error()))
	}
}

func (a *Agent) keyOf(p *corev1.Pod) store.Key { return a.cfg.Reader.Snapshot().Key(p) }

// staticPod is the pod of this node's own that has that UID, with what its mirror says of it; false if there is none. It is
// nil while another one of that name is still here.
func (a *Agent) staticPod(s *store.Snapshot, uid types.UID) (*corev1.Pod, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.static[uid]
	if !ok {
		return nil, false
	}
	for other, o := range a.static {
		if other != uid && o.Name == p.Name && o.Namespace == p.Namespace && o.DeletionTimestamp != nil && p.DeletionTimestamp == nil {
			return nil, true
		}
	}
	if m := mirrorOf(s, p); m != nil {
		q := *p // what is stored is shared, and not written to
		q.Status, q.Generation = m.Status, m.Generation
		return &q, true
	}
	return p, true
}

// mirrorOf is what the store shows of p; nil if it shows nothing.
func mirrorOf(s *store.Snapshot, p *corev1.Pod) *corev1.Pod {
	m, ok := store.Get[*corev1.Pod](s, p.Namespace, p.Name)
	if !ok || m.DeletionTimestamp != nil {
		return nil
	}
	if uid, ok := static.Mirrored(m); !ok || uid != p.UID {
		return nil
	}
	return m
}

// release forgets a pod of this node's own that has ended, and starts the one that takes its name. Called under mu.
func (a *Agent) release(uid types.UID) {
	p := a.static[uid]
	if p == nil || p.DeletionTimestamp == nil {
		return
	}
	delete(a.static, uid)
	for other, o := range a.static {
		if o.Namespace == p.Namespace && o.Name == p.Name {
			a.loop.Wake(other)
		}
	}
}

const mirrorAgain = 10 * time.Second // between attempts to have a mirror

// patient is when to look at a pod again that wants to be looked at after so long: one that has no mirror tries to have one.
func (a *Agent) patient(w *worker, want *corev1.Pod, s *store.Snapshot, after time.Duration) time.Duration {
	if w.own && mirrorOf(s, want) == nil && (after == 0 || after > mirrorAgain) {
		return mirrorAgain
	}
	return after
}

// isStatic tells whether a pod is this node's own.
func (a *Agent) isStatic(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.static[uid] != nil
}

// reflect has the mirror of a pod of this node's own show it, as far as the store takes it.
func (a *Agent) reflect(s *store.Snapshot, want *corev1.Pod, status corev1.PodStatus, gone bool) {
	key := s.Key(want)
	m := mirrorOf(s, want)
	switch live, there := store.Get[*corev1.Pod](s, want.Namespace, want.Name); {
	case m != nil:
		a.report.pod(m, PodReport{Key: key, UID: m.UID, Status: status, Gone: gone})
	case there:
		a.drop(s, live)
	case !gone && want.DeletionTimestamp == nil:
		a.report.mirrors(key, static.Mirror(want))
	}
}

// drop removes what shows a pod that is not there, or not as it shows it. A pod of somebody's own is left alone: then that of
// this node has no mirror.
func (a *Agent) drop(s *store.Snapshot, m *corev1.Pod) {
	if _, ok := static.Mirrored(m); ok {
		a.report.pod(m, PodReport{Key: s.Key(m), UID: m.UID, Status: m.Status, Gone: true})
	}
}

// mirrored is told of a mirror that is here, or was changed: its pod looks at it, or if there is none it goes.
func (a *Agent) mirrored(s *store.Snapshot, m *corev1.Pod) {
	uid, _ := static.Mirrored(m)
	if a.isStatic(uid) {
		a.Wake(uid)
	} else if live, ok := store.Get[*corev1.Pod](s, m.Namespace, m.Name); ok && live.UID == m.UID {
		a.drop(s, live)
	}
}

// unmirrored is told of a mirror that is gone: the pod of that name has another one made.
func (a *Agent) unmirrored(m *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, p := range a.static {
		if p.Namespace == m.Namespace && p.Name == m.Name {
			a.loop.Wake(uid)
		}
	}
}

// local is the UID under which a pod of the store runs here.
func local(p *corev1.Pod) types.UID {
	if uid, ok := static.Mirrored(p); ok {
		return uid
	}
	return p.UID
}
