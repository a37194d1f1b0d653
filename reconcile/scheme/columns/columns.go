// Package columns is what kubectl get shows of each kind: the headings, priorities and texts of Kubernetes. It reads no
// clock: now is an argument.
package columns

import (
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// A Table is how objects of type T are shown: one row each, with one cell for each heading. Headings of priority 1 are
// shown by -o wide only.
type Table[T any] struct {
	Header []metav1.TableColumnDefinition
	Row    func(o T, now time.Time) []any
}

// none stands for what is not there.
const none = "<none>"

// header makes headings of "Name,Desired:integer,Selector*": text, a number, and one that only -o wide shows.
func header(names string) []metav1.TableColumnDefinition {
	var all []metav1.TableColumnDefinition
	for name := range strings.SplitSeq(names, ",") {
		c := metav1.TableColumnDefinition{Type: "string"}
		if short, ok := strings.CutSuffix(name, "*"); ok {
			name, c.Priority = short, 1
		}
		if text, kind, ok := strings.Cut(name, ":"); ok {
			name, c.Type = text, kind
		}
		if name == "Name" {
			c.Format = "name"
		}
		c.Name = name
		all = append(all, c)
	}
	return all
}

// age is how long ago t was.
func age(t metav1.Time, now time.Time) string { return since(t.Time, now) }

func since(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

func created(o metav1.Object, now time.Time) string { return age(o.GetCreationTimestamp(), now) }

// or is s, or other if s is empty.
func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Namespaces shows whether they are ending.
func Namespaces() Table[*corev1.Namespace] {
	return Table[*corev1.Namespace]{header("Name,Status,Age"), func(n *corev1.Namespace, now time.Time) []any {
		return []any{n.Name, string(n.Status.Phase), created(n, now)}
	}}
}

// ConfigMaps shows how many keys they have.
func ConfigMaps() Table[*corev1.ConfigMap] {
	return Table[*corev1.ConfigMap]{header("Name,Data,Age"), func(c *corev1.ConfigMap, now time.Time) []any {
		return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), created(c, now)}
	}}
}

// Secrets shows their type and how many keys they have.
func Secrets() Table[*corev1.Secret] {
	return Table[*corev1.Secret]{header("Name,Type,Data,Age"), func(s *corev1.Secret, now time.Time) []any {
		return []any{s.Name, string(s.Type), int64(len(s.Data)), created(s, now)}
	}}
}

// ServiceAccounts shows how old they are.
func ServiceAccounts() Table[*corev1.ServiceAccount] {
	return Table[*corev1.ServiceAccount]{header("Name,Age"), func(s *corev1.ServiceAccount, now time.Time) []any {
		return []any{s.Name, created(s, now)}
	}}
}

// Leases shows who holds them.
func Leases() Table[*coordinationv1.Lease] {
	return Table[*coordinationv1.Lease]{header("Name,Holder,Age"), func(l *coordinationv1.Lease, now time.Time) []any {
		holder := ""
		if l.Spec.HolderIdentity != nil {
			holder = *l.Spec.HolderIdentity
		}
		return []any{l.Name, holder, created(l, now)}
	}}
}

// RuntimeClasses shows what runs their pods.
func RuntimeClasses() Table[*nodev1.RuntimeClass] {
	return Table[*nodev1.RuntimeClass]{header("Name,Handler,Age"), func(c *nodev1.RuntimeClass, now time.Time) []any {
		return []any{c.Name, c.Handler, created(c, now)}
	}}
}

// Events shows what happened, to what, and when last.
func Events() Table[*corev1.Event] {
	return Table[*corev1.Event]{
		header("Last Seen,Type,Reason,Object,Subobject*,Source*,Message,First Seen*,Count*,Name*"),
		event,
	}
}

func event(e *corev1.Event, now time.Time) []any {
	first := or(known(e.FirstTimestamp.Time, now), since(e.EventTime.Time, now))
	last, count := or(known(e.LastTimestamp.Time, now), first), max(e.Count, 1)
	if e.Series != nil {
		last, count = since(e.Series.LastObservedTime.Time, now), e.Series.Count
	}
	return []any{
		last, e.Type, e.Reason, about(e.InvolvedObject),
		e.InvolvedObject.FieldPath, eventSource(e), strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}

// known is since, but empty for no time.
func known(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return since(t, now)
}

func about(o corev1.ObjectReference) string {
	kind := strings.ToLower(o.Kind)
	if o.Name == "" {
		return kind
	}
	return kind + "/" + o.Name
}

func eventSource(e *corev1.Event) string {
	component, host := or(e.Source.Component, e.ReportingController), or(e.Source.Host, e.ReportingInstance)
	if host == "" {
		return component
	}
	return component + ", " + host
}

// nOf says "2/3".
func nOf[N ~int | ~int32](n, of N) string { return fmt.Sprintf("%d/%d", n, of) }
