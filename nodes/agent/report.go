package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// reporter brings what there is to say to the Writer: together what comes while it writes, at once what somebody waits
// for, a little later what nobody does, and never what was said already.
type reporter struct {
	writer Writer
	node   string
	hold   time.Duration
	now    func() time.Time
	loop   *loop.Loop[struct{}]

	mu      sync.Mutex
	pods    map[types.UID]*saying
	events  *eventBook
	at      time.Time                 // when events are due; zero: there are none
	mirror  map[store.Key]*corev1.Pod // to be made
	object  *corev1.Node
	lease   *coordinationv1.Lease
	here    *NodeImages // nil: nothing new
	folders []FolderReport
}

// saying is what is said, and to be said, of one pod.
type saying struct {
	newest PodReport
	due    time.Time // zero: it is written
	last   time.Time // when it was written
}

const eventDelay = 250 * time.Millisecond // so that they come together, and out of the way of what is urgent

func newReporter(w Writer, node string, hold time.Duration, now func() time.Time, log *slog.Logger) *reporter {
	r := &reporter{writer: w, node: node, hold: hold, now: now, pods: map[types.UID]*saying{}, mirror: map[store.Key]*corev1.Pod{}, events: newEventBook(node)}
	r.loop = loop.New("report", r.write, loop.Options{Max: 5 * time.Second, Now: now, Log: log})
	return r
}

// pod says what a pod's status is. have is the pod as it is stored.
func (r *reporter) pod(have *corev1.Pod, p PodReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, known := r.pods[p.UID]
	old := have.Status
	if known && !s.due.IsZero() {
		old = s.newest.Status
	}
	switch {
	case !p.Gone && equality.Semantic.DeepEqual(old, p.Status):
		return
	case !known:
		s = &saying{last: r.now()}
		r.pods[p.UID] = s
	}
	due := s.last.Add(r.hold)
	if p.Gone || urgent(&old, &p.Status) {
		due = r.now()
	}
	if s.due.IsZero() || due.Before(s.due) {
		s.due = due
	}
	s.newest = p
	r.loop.Wake(struct{}{})
}

// mirrors has the store show a pod of the node's own.
func (r *reporter) mirrors(k store.Key, m *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mirror[k] = m
	r.loop.Wake(struct{}{})
}

// urgent tells whether somebody waits for what has changed: traffic depends on it, or a rollout, or the end of a job.
func urgent(old, new *corev1.PodStatus) bool {
	over := func(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }
	return ready(old) != ready(new) || over(old.Phase) != over(new.Phase) || ready(new) && old.PodIP != new.PodIP
}

func ready(s *corev1.PodStatus) bool {
	for i := range s.Conditions {
		if c := &s.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// forget ends the account of a pod. What is to be said of it is dropped if it is no longer in the store, else kept until
// it is written.
func (r *reporter) forget(uid types.UID, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.forget(uid)
	if gone {
		delete(r.pods, uid)
	}
}

// set says something of the node.
func (r *reporter) set(n *corev1.Node, l *coordinationv1.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n != nil {
		r.object = n
	}
	if l != nil {
		r.lease = l
	}
	r.loop.Wake(struct{}{})
}

// images says which images the node has.
func (r *reporter) images(list []corev1.ContainerImage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.here = &NodeImages{Node: r.node, Images: list}
	r.loop.Wake(struct{}{})
}

// write brings what is due to the Writer, and says when more is.
func (r *reporter) write(ctx context.Context, _ struct{}) (time.Duration, error) {
	now := r.now()
	rep, uids := r.take(now)
	if len(rep.Pods)+len(rep.Events)+len(rep.Mirror) > 0 || rep.Node != nil || rep.Lease != nil || rep.Images != nil || len(rep.Folders) > 0 {
		if err := r.writer.Write(ctx, rep); err != nil {
			r.restore(rep, uids)
			return 0, fmt.Errorf("write what this node has to say: %w", err)
		}
	}
	return r.next(rep), nil
}

// take is what is due, marked as written.
func (r *reporter) take(now time.Time) (Report, map[types.UID]time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := Report{Node: r.object, Lease: r.lease, Images: r.here, Folders: r.folders}
	r.object, r.lease, r.here, r.folders = nil, nil, nil, nil
	due := map[types.UID]time.Time{}
	for uid, s := range r.pods {
		if !s.due.IsZero() && !s.due.After(now) {
			rep.Pods = append(rep.Pods, s.newest)
			due[uid] = s.due
			s.due, s.last = time.Time{}, now
		}
	}
	sortReports(rep.Pods)
	for _, k := range slices.SortedFunc(maps.Keys(r.mirror), store.Key.Compare) {
		rep.Mirror = append(rep.Mirror, r.mirror[k])
	}
	clear(r.mirror)
	if !r.at.IsZero() && !r.at.After(now) {
		rep.Events = r.events.take()
		r.at = time.Time{}
	}
	return rep, due
}

// restore takes back what could not be written, unless there is something newer.
func (r *reporter) restore(rep Report, due map[types.UID]time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid, at := range due {
		if s := r.pods[uid]; s != nil && s.due.IsZero() {
			s.due = at
		}
	}
	if len(rep.Events) > 0 {
		r.events.restore(rep.Events)
		r.at = r.now()
	}
	if r.object == nil {
		r.object = rep.Node
	}
	if r.lease == nil {
		r.lease = rep.Lease
	}
	if r.here == nil {
		r.here = rep.Images
	}
	r.folders = append(rep.Folders, r.folders...)
}

// next is how long until more is due, after rep was written.
func (r *reporter) next(rep Report) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range rep.Pods {
		if s := r.pods[p.UID]; p.Gone && s != nil && s.due.IsZero() {
			delete(r.pods, p.UID)
		}
	}
	next := r.at
	for _, s := range r.pods {
		if !s.due.IsZero() && (next.IsZero() || s.due.Before(next)) {
			next = s.due
		}
	}
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(r.now()), time.Microsecond)
}
