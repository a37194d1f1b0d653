// Package columns is what kubectl get shows of each kind: the headings, priorities and texts of Kubernetes. It reads no
// clock: now is an argument.
package columns

import (
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
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

// header makes headings from "Name", "Desired:integer", and after a "|" those that only -o wide shows.
func header(names string) []metav1.TableColumnDefinition {
	var all []metav1.TableColumnDefinition
	usual, wide, _ := strings.Cut(names, "|")
	for priority, list := range []string{usual, wide} {
		for name := range strings.SplitSeq(list, ",") {
			if name == "" {
				continue
			}
			name, kind, ok := strings.Cut(name, ":")
			if !ok {
				kind = "string"
			}
			c := metav1.TableColumnDefinition{Name: name, Type: kind, Priority: int32(priority)}
			if name == "Name" {
				c.Format = "name"
			}
			all = append(all, c)
		}
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

// ServiceAccounts shows how many secrets they name.
func ServiceAccounts() Table[*corev1.ServiceAccount] {
	return Table[*corev1.ServiceAccount]{header("Name,Secrets,Age"), func(s *corev1.ServiceAccount, now time.Time) []any {
		return []any{s.Name, int64(len(s.Secrets)), created(s, now)}
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

// Events shows what happened, to what, and when last.
func Events() Table[*corev1.Event] {
	return Table[*corev1.Event]{
		header("Last Seen,Type,Reason,Object,Message|Subobject,Source,First Seen,Count,Name"),
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
		last, e.Type, e.Reason, strings.ToLower(e.InvolvedObject.Kind) + "/" + e.InvolvedObject.Name, strings.TrimSpace(e.Message),
		e.InvolvedObject.FieldPath, eventSource(e), first, int64(count), e.Name,
	}
}

// known is since, but empty for no time.
func known(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return since(t, now)
}

func eventSource(e *corev1.Event) string {
	parts := []string{or(e.Source.Component, e.ReportingController), or(e.Source.Host, e.ReportingInstance)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// nOf says "2/3".
func nOf[N ~int | ~int32](n, of N) string { return fmt.Sprintf("%d/%d", n, of) }
