package agent

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
)

const (
	component   = "mainstay-agent"
	eventBurst  = 25              // events that a pod may have at once
	eventRefill = 5 * time.Minute // until it may have one more
	maxMessage  = 1024
)

// eventBook gathers events until they are written. The same event again is counted, and a pod that has too many is not
// listened to for a while, as in Kubernetes.
type eventBook struct {
	node    string
	pending map[types.NamespacedName]*corev1.Event
	budgets map[types.UID]budget
}

type budget struct {
	left int
	at   time.Time // when it was last refilled
}

func newEventBook(node string) *eventBook {
	return &eventBook{node: node, pending: map[types.NamespacedName]*corev1.Event{}, budgets: map[types.UID]budget{}}
}

// add takes in an event; false if the pod has had too many.
func (b *eventBook) add(p *corev1.Pod, e pod.Event, now time.Time) bool {
	if !b.spend(p.UID, now) {
		return false
	}
	b.keep(b.object(p, e, e.Message, now))
	return true
}

// renew takes in an event that stands for all that came before with the same reason, about the same thing, and by which
// nobody has too many.
func (b *eventBook) renew(p *corev1.Pod, e pod.Event, now time.Time) {
	b.keep(b.object(p, e, "", now))
}

// addNode takes in an event about the node itself.
func (b *eventBook) addNode(happened pod.Event, now time.Time) {
	p := &corev1.Pod{}
	p.Namespace, p.Name, p.UID = metav1.NamespaceDefault, b.node, types.UID(b.node)
	e := b.object(p, happened, happened.Message, now)
	e.InvolvedObject = corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: b.node, UID: p.UID}
	b.keep(e)
}

func (b *eventBook) keep(event *corev1.Event) {
	key := types.NamespacedName{Namespace: event.Namespace, Name: event.Name}
	if old, ok := b.pending[key]; ok {
		old.Count++
		old.LastTimestamp, old.Message = event.LastTimestamp, event.Message
		return
	}
	b.pending[key] = event
}

func (b *eventBook) spend(uid types.UID, now time.Time) bool {
	have, ok := b.budgets[uid]
	if !ok {
		have = budget{eventBurst, now}
	}
	if n := int(now.Sub(have.at) / eventRefill); n > 0 {
		have.left = min(have.left+n, eventBurst)
		have.at = have.at.Add(time.Duration(n) * eventRefill)
	}
	spent := have.left > 0
	if spent {
		have.left--
	}
	b.budgets[uid] = have
	return spent
}

// object is e as it is stored. Events of the same kind with the same reason about the same thing have the same name if key,
// which is usually the message, is the same.
func (b *eventBook) object(p *corev1.Pod, e pod.Event, key string, now time.Time) *corev1.Event {
	field := fieldPath(p, e.Container)
	message := e.Message
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00%s", p.UID, field, e.Type, e.Reason, key)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: fmt.Sprintf("%s.%x", p.Name, h.Sum64())},
		InvolvedObject: corev1.ObjectReference{
			Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID,
			ResourceVersion: p.ResourceVersion, FieldPath: field,
		},
		Type: e.Type, Reason: e.Reason, Message: message,
		Source:              corev1.EventSource{Component: component, Host: b.node},
		ReportingController: component, ReportingInstance: b.node,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now), Count: 1,
	}
}

// fieldPath is where the container is in the pod; empty if the event is about the pod as a whole.
func fieldPath(p *corev1.Pod, container string) string {
	for _, c := range p.Spec.InitContainers {
		if c.Name == container {
			return fmt.Sprintf("spec.initContainers{%s}", container)
		}
	}
	for _, c := range p.Spec.EphemeralContainers {
		if c.Name == container {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", container)
		}
	}
	if container == "" {
		return ""
	}
	return fmt.Sprintf("spec.containers{%s}", container)
}

// take empties the book.
func (b *eventBook) take() []*corev1.Event {
	var all []*corev1.Event
	for _, e := range b.pending {
		all = append(all, e)
	}
	clear(b.pending)
	slices.SortFunc(all, func(x, y *corev1.Event) int {
		return cmp.Or(x.FirstTimestamp.Compare(y.FirstTimestamp.Time), strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name))
	})
	return all
}

// restore takes back events that could not be written.
func (b *eventBook) restore(events []*corev1.Event) {
	for _, e := range events {
		key := types.NamespacedName{Namespace: e.Namespace, Name: e.Name}
		if newer, ok := b.pending[key]; ok {
			e.Count += newer.Count
			e.LastTimestamp, e.Message = newer.LastTimestamp, newer.Message
		}
		b.pending[key] = e
	}
}

func (b *eventBook) forget(uid types.UID) { delete(b.budgets, uid) }

// Event has an event about a pod written, soon, for those who work for the node beside the agent.
func (a *Agent) Event(p *corev1.Pod, e pod.Event) { a.report.event(p, e) }

// event takes in an event about a pod.
func (r *reporter) event(p *corev1.Pod, e pod.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events.add(p, e, r.now()) {
		r.eventsDue()
	}
}

// progress takes in an event about a pod that takes the place of the one before.
func (r *reporter) progress(p *corev1.Pod, e pod.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.renew(p, e, r.now())
	r.eventsDue()
}

// nodeWarning takes in an event about the node.
func (r *reporter) nodeWarning(reason, message string) { r.nodeEvent(warning(reason, "", message)) }

// nodeEvent takes in an event about the node.
func (r *reporter) nodeEvent(e pod.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events.addNode(e, r.now())
	r.eventsDue()
}

// eventsDue has events written soon.
func (r *reporter) eventsDue() {
	if r.at.IsZero() {
		r.at = r.now().Add(eventDelay)
		r.loop.Wake(struct{}{})
	}
}

func sortReports(all []PodReport) {
	slices.SortFunc(all, func(a, b PodReport) int { return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.UID, b.UID)) })
}
