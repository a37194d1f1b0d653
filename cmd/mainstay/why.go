package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/health"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func newWhyCommand(at *place) *cobra.Command {
	var namespace string
	c := &cobra.Command{
		Use:   "why KIND/NAME",
		Short: "Tell why an object is there, and is as it is: back to commit, file and line",
		Example: `  mainstay why pod/web-7d9f-abcde
  mainstay why deployment/web -n hello`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, ok := strings.Cut(args[0], "/")
			if !ok {
				return fmt.Errorf("%q: write KIND/NAME, such as pod/web-7d9f-abcde", args[0])
			}
			cl, err := connect(*at)
			if err != nil {
				return err
			}
			k, err := cl.kind(cmd.Context(), kind)
			if err != nil {
				return err
			}
			kinds := []schema.GroupKind{corev1.SchemeGroupVersion.WithKind("Event").GroupKind()}
			if k.Defined == nil {
				kinds = append(kinds, k.GroupKind())
			}
			s, err := cl.delivered(cmd.Context(), kinds...)
			if err != nil {
				return err
			}
			if k.Defined != nil {
				custom, err := cl.custom(cmd.Context(), k)
				if err != nil {
					return err
				}
				s = s.With(custom...)
			}
			o, err := find(s, k, namespace, name)
			if err != nil {
				return err
			}
			why(cmd.OutOrStdout(), s, o, time.Now())
			return nil
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace (default: the one that has it)")
	return c
}

// kindNamed finds a kind by what people call it: pod, pods, po, Pod.
func kindNamed(s *scheme.Scheme, name string) (*scheme.Kind, error) {
	name = strings.ToLower(name)
	for _, k := range s.All() {
		if name == strings.ToLower(k.Kind) || name == k.Plural || name == k.Singular || slices.Contains(k.Short, name) {
			return k, nil
		}
	}
	return nil, fmt.Errorf("unknown kind %q", name)
}

// find returns the only object of that name.
func find(s *store.Snapshot, k *scheme.Kind, namespace, name string) (store.Object, error) {
	var found []store.Object
	for o := range s.List(store.Select(k.GroupKind(), store.InNamespace(namespace))) {
		if o.GetName() == name {
			found = append(found, o)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no %s %s", strings.ToLower(k.Kind), strings.TrimPrefix(namespace+"/"+name, "/"))
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("there is a %s %s in several namespaces: name one with -n", strings.ToLower(k.Kind), name)
}

// why writes where o comes from, and what is to be said of it.
func why(w io.Writer, s *store.Snapshot, o store.Object, now time.Time) {
	fmt.Fprintf(w, "%s   %s\n", s.Key(o), health.Of(s, o))
	if p, ok := o.(*corev1.Pod); ok {
		whyPod(w, p)
	}
	for top := o; top != nil; top = controller(s, top) {
		if top != o {
			fmt.Fprintf(w, "made by %s%s   %s\n", s.Key(top), revision(top), health.Of(s, top))
		}
		if whyGit(w, s, top, now) {
			break
		}
		if metav1.GetControllerOf(top) == nil {
			fmt.Fprintf(w, "%s is in no source: it was made by hand, or by a controller\n", s.Key(top))
		}
	}
	whyEvents(w, s, o, now)
}

func whyPod(w io.Writer, p *corev1.Pod) {
	where := "no node yet"
	if p.Spec.NodeName != "" {
		where = "node " + p.Spec.NodeName
	}
	if p.Status.PodIP != "" {
		where += ", address " + p.Status.PodIP
	}
	fmt.Fprintf(w, "  %s, on %s\n", strings.ToLower(string(cmp.Or(p.Status.Phase, corev1.PodPending))), where)
	for _, c := range p.Status.ContainerStatuses {
		fmt.Fprintf(w, "  container %s   %s   %s, %d restarts\n", c.Name, c.Image, containerState(c.State), c.RestartCount)
	}
}

func containerState(st corev1.ContainerState) string {
	switch {
	case st.Running != nil:
		return "running"
	case st.Terminated != nil:
		return fmt.Sprintf("ended with exit code %d", st.Terminated.ExitCode)
	case st.Waiting != nil:
		return "waiting: " + strings.TrimSuffix(st.Waiting.Reason+": "+st.Waiting.Message, ": ")
	}
	return "not started"
}

// revision tells which one of a Deployment's o is, if it is one.
func revision(o store.Object) string {
	if r := o.GetAnnotations()["deployment.kubernetes.io/revision"]; r != "" {
		return " (revision " + r + ")"
	}
	return ""
}

func controller(s *store.Snapshot, o store.Object) store.Object {
	r := metav1.GetControllerOf(o)
	if r == nil {
		return nil
	}
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return nil
	}
	owner, _ := s.Get(store.Key{Kind: schema.GroupKind{Group: gv.Group, Kind: r.Kind}, Namespace: o.GetNamespace(), Name: r.Name})
	return owner
}

// whyGit tells which file and commit o comes from; false if it comes from none.
func whyGit(w io.Writer, s *store.Snapshot, o store.Object, now time.Time) bool {
	for inv := range apply.Listing(s, s.Key(o)) {
		e, _ := apply.Entry(inv, s.Key(o))
		fmt.Fprintf(w, "applied from %s:%d   source %s/%s, as of commit %s\n", inv.Spec.Path, e.Line, inv.Namespace, inv.Spec.Source, shortHash(inv.Spec.Commit))
		if g, ok := store.Get[*v1alpha1.GitSource](s, inv.Namespace, inv.Spec.Source); ok && g.Status.Applied != nil {
			c := g.Status.Applied
			fmt.Fprintf(w, "the source is at commit %s   %q by %s, applied %s ago\n", shortHash(c.Hash), c.Subject, c.Author, age(c.Time.Time, now))
		}
		return true
	}
	return false
}

func age(t, now time.Time) string { return duration.HumanDuration(now.Sub(t)) }

// whyEvents writes the last things that were said of o.
func whyEvents(w io.Writer, s *store.Snapshot, o store.Object, now time.Time) {
	events := slices.Collect(store.List[*corev1.Event](s, store.Matching(func(e store.Object) bool {
		return e.(*corev1.Event).InvolvedObject.UID == o.GetUID()
	})))
	slices.SortFunc(events, func(a, b *corev1.Event) int { // times are in seconds
		return cmp.Or(a.LastTimestamp.Compare(b.LastTimestamp.Time), cmp.Compare(store.RevisionOf(a), store.RevisionOf(b)))
	})
	const most = 10
	for _, e := range events[max(len(events)-most, 0):] {
		times := ""
		if e.Count > 1 {
			times = fmt.Sprintf(" (%d times)", e.Count)
		}
		fmt.Fprintf(w, "  %s ago   %s: %s%s\n", age(e.LastTimestamp.Time, now), e.Reason, e.Message, times)
	}
}
