package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/health"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// unsettled says what is not yet as the last commit has it.
func (w *sim) unsettled() string {
	if w.life == nil {
		return "the daemon is down"
	}
	s := w.life.store.Snapshot()
	if at, _ := w.applied(s); at.Hash != w.git.head().Hash {
		return "the last commit is not applied"
	}
	for _, a := range w.git.apps {
		st := health.At(s, store.Key{Kind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: a.Namespace, Name: a.Name})
		if st.State != health.Healthy {
			return fmt.Sprintf("%s is %s", a.key(), st)
		}
	}
	for _, k := range simSetKeys() {
		if st := health.At(s, k); st.State != health.Healthy {
			return fmt.Sprintf("%s is %s", k, st)
		}
	}
	for _, k := range []string{"PersistentVolume", "PersistentVolumeClaim"} {
		for o := range s.List(store.Select(schema.GroupKind{Kind: k})) {
			if o.GetDeletionTimestamp() != nil {
				return fmt.Sprintf("%s is still there", s.Key(o))
			}
		}
	}
	for p := range store.List[*corev1.Pod](s) {
		if p.DeletionTimestamp != nil {
			return fmt.Sprintf("pod %s/%s is still there", p.Namespace, p.Name)
		}
	}
	for _, o := range errands(s) {
		return fmt.Sprintf("%s is still there", s.Key(o))
	}
	for ns := range store.List[*corev1.Namespace](s) {
		if ns.DeletionTimestamp != nil {
			return fmt.Sprintf("namespace %s is still there", ns.Name)
		}
	}
	return ""
}

// atRest checks what must be when nothing happens any more.
func (w *sim) atRest() {
	w.t.Helper()
	s := w.life.store.Snapshot()
	for _, i := range w.check.invariants {
		if i.rest != nil {
			w.hold(i, func() { i.rest(w, s) })
		}
	}
	if w.t.Failed() {
		w.t.Fatalf("at the end there is\n%s", w.fake)
	}
}

// restPlan applies the last commit once more.
func (w *sim) restPlan(s *store.Snapshot) {
	_, source := w.applied(s)
	change, err := w.git.change(simCommit{}, w.git.head())
	w.must(err)
	plan, err := w.applier.Prepare(s, w.request(source, change))
	w.must(err)
	for _, i := range plan.Items {
		if !plan.Empty() {
			w.t.Errorf("the same documents once more: %s %s %v", i.Op, i.Key, i.Diff)
		}
	}
}

// restQuiet lets a minute pass.
func (w *sim) restQuiet(*store.Snapshot) {
	deltas := len(w.ledger.log)
	w.run(simLongQuiet)
	if quiet := w.ledger.log[deltas:]; len(quiet) > 6 || slices.ContainsFunc(quiet, func(e simEntry) bool { return !strings.HasSuffix(e.text, "Lease kube-node-lease/here") }) {
		w.t.Errorf("a minute at rest cost more than six renewals of the lease:\n%s", w.ledger.tail(len(quiet)))
	}
}

func (w *sim) restDeployments(s *store.Snapshot) {
	n := 0
	for d := range store.List[*appsv1.Deployment](s) {
		n++
		a, ok := w.git.apps[d.Namespace+"/"+d.Name]
		if !ok || int(*d.Spec.Replicas) != a.Replicas || int(d.Status.AvailableReplicas) != a.Replicas || d.Spec.Template.Spec.Containers[0].Image != a.Image {
			w.t.Errorf("Deployment %s/%s is not as the last commit has it: %v %v", d.Namespace, d.Name, a, d.Status)
		}
		kept := 0
		for rs := range store.List[*appsv1.ReplicaSet](s, store.OwnedBy(d.UID)) {
			kept++
			if got := rs.Spec.Template.Spec.Containers[0].Image; *rs.Spec.Replicas > 0 && got != a.Image {
				w.t.Errorf("ReplicaSet %s has pods of %s, not %s", rs.Name, got, a.Image)
			}
		}
		if kept > 3 {
			w.t.Errorf("Deployment %s/%s keeps %d ReplicaSets, three should be the most", d.Namespace, d.Name, kept)
		}
	}
	if n != len(w.git.apps) {
		w.t.Errorf("there are %d Deployments, the last commit has %d", n, len(w.git.apps))
	}
}

// restOwners checks that nothing is left whose owner is gone.
func (w *sim) restOwners(s *store.Snapshot) {
	uids := map[types.UID]bool{}
	for o := range s.List(store.Query{}) {
		uids[o.GetUID()] = true
	}
	for o := range s.List(store.Query{}) {
		for _, r := range o.GetOwnerReferences() {
			if !uids[r.UID] {
				w.t.Errorf("%s is left of %s %s, which is gone", s.Key(o), r.Kind, r.Name)
			}
		}
		if ns := o.GetNamespace(); ns != "" {
			if _, ok := store.Get[*corev1.Namespace](s, "", ns); !ok {
				w.t.Errorf("%s is left of its namespace", s.Key(o))
			}
		}
	}
}

// restNode checks that what is on the machine is what the store says.
func (w *sim) restNode(s *store.Snapshot) {
	want := map[types.UID]string{}
	for p := range store.List[*corev1.Pod](s) {
		want[p.UID] = fmt.Sprintf("%s/%s web %s", p.Namespace, p.Name, p.Status.PodIP)
	}
	have := map[types.UID]string{}
	boxes, err := w.fake.Sandboxes(context.Background())
	w.must(err)
	for _, b := range boxes {
		have[b.Pod] = b.Namespace + "/" + b.Name
		for _, r := range b.Containers {
			if r.State == runtime.Running {
				have[b.Pod] += " " + r.ID.Name
			}
		}
		have[b.Pod] += " " + w.net.addresses[b.Pod].String()
	}
	if d := cmp.Diff(want, have); d != "" {
		w.t.Errorf("the store and the machine differ (-store +machine):\n%s", d)
	}
	files, err := w.volumes.List()
	w.must(err)
	attached, _ := w.net.Attached(context.Background())
	for _, uid := range append(files, attached...) {
		if want[uid] == "" {
			w.t.Errorf("something is left of pod %s", uid)
		}
	}
}

// restServices checks that services lead to all their pods and nowhere else, and that the tables are as if compiled from
// nothing.
func (w *sim) restServices(s *store.Snapshot) {
	want, got := map[string][]string{}, map[string][]string{}
	var all service.Rows
	var ids service.IDs
	for svc := range store.List[*corev1.Service](s) {
		var rows service.Rows
		rows, ids, _ = service.Compile(s, simNode, s.Key(svc), service.Rows{}, ids)
		all.Frontends = append(all.Frontends, rows.Frontends...)
		all.Slots = append(all.Slots, rows.Slots...)
		all.Backends = append(all.Backends, rows.Backends...)
		if svc.Name == "kubernetes" {
			want[svc.Spec.ClusterIP+":443/TCP"] = []string{"10.244.0.1"}
			continue
		}
		a := w.git.apps[svc.Namespace+"/"+svc.Name]
		addrs := []string{}
		for p := range store.List[*corev1.Pod](s, store.InNamespace(svc.Namespace)) {
			if metav1.GetControllerOf(p) != nil && p.Labels["app"] == a.Name {
				addrs = append(addrs, w.net.addresses[p.UID].String())
			}
		}
		if len(addrs) > 0 {
			want[svc.Spec.ClusterIP+":80/TCP"] = slices.Sorted(slices.Values(addrs))
		}
	}
	for a, by := range w.check.led() {
		for _, f := range by {
			got[f.String()] = append(got[f.String()], a.String())
			slices.Sort(got[f.String()])
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("services do not lead to their pods (-want +got):\n%s", d)
	}
	target.Sort(all.Frontends)
	target.Sort(all.Slots)
	target.Sort(all.Backends)
	rows, err := service.Read(context.Background(), w.tables)
	w.must(err)
	if d := cmp.Diff(all.Resolved(), rows.Resolved()); d != "" {
		w.t.Errorf("the tables are not as compiled from nothing (-compiled +tables):\n%s", d)
	}
	if len(rows.Slots) != len(all.Slots) || len(rows.Backends) != len(all.Backends) {
		w.t.Errorf("the tables hold what nobody needs:\n%s", rows)
	}
}
