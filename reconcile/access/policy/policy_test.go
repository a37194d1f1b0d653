package policy

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// opened is a store with the namespace kube-system, and the built-in roles in it.
func opened(t *testing.T) *store.Memory {
	t.Helper()
	kinds := scheme.New(scheme.Options{})
	m, err := store.Open(store.NewVolatile(kinds.Stored), kinds.Stored, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	edit(t, m, func(tx *store.Tx) error {
		return tx.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}})
	})
	carryOut(t, m)
	return m
}

func edit(t *testing.T, m *store.Memory, fn func(*store.Tx) error) {
	t.Helper()
	if _, err := m.Update(t.Context(), "test", fn); err != nil {
		t.Fatal(err)
	}
}

// carryOut plans and writes until nothing is left to do. It returns what was written.
func carryOut(t *testing.T, m *store.Memory) []control.Write {
	t.Helper()
	var all []control.Write
	for range 20 {
		var writes []control.Write
		for _, c := range []control.Controller{Defaults{}, Aggregation{}} {
			p, err := c.Plan(control.World{Snapshot: m.Snapshot()}, store.Key{})
			if err != nil {
				t.Fatal(err)
			}
			edit(t, m, func(tx *store.Tx) error {
				for _, w := range p.Writes {
					var err error
					switch w.Op {
					case control.Create:
						err = tx.Create(w.Object)
					case control.Update:
						err = tx.Update(w.Object)
					case control.Delete:
						err = tx.Delete(tx.Key(w.Object))
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			writes = append(writes, p.Writes...)
		}
		if len(writes) == 0 {
			return all
		}
		all = append(all, writes...)
	}
	t.Fatal("it does not come to an end")
	return nil
}

func TestBuiltInRolesAreValidAndComeToRest(t *testing.T) {
	m := opened(t)
	kinds := scheme.New(scheme.Options{})
	n := 0
	for o := range m.Snapshot().List(store.Query{}) {
		if _, ok := o.(*corev1.Namespace); ok {
			continue
		}
		n++
		if errs := kinds.Of(o).Validate(o); len(errs) > 0 {
			t.Errorf("%s: %v", o.GetName(), errs)
		}
	}
	if n != len(Objects()) {
		t.Errorf("there are %d, not %d", n, len(Objects()))
	}
	admin, _ := store.Get[*rbacv1.ClusterRole](m.Snapshot(), "", "admin")
	if want := 2 + len(editing()) + len(viewing()); len(admin.Rules) != want {
		t.Errorf("admin gathered %d rules, not %d", len(admin.Rules), want)
	}
}

func TestWhatBuiltInRolesLackComesBackAndTheRestStays(t *testing.T) {
	m := opened(t)
	extra := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"things"}}
	edit(t, m, func(tx *store.Tx) error {
		dns, _ := store.Get[*rbacv1.ClusterRole](tx.Snapshot, "", "system:kube-dns")
		dns = dns.DeepCopy()
		dns.Rules = []rbacv1.PolicyRule{extra} // damaged
		dns.Labels["mine"] = "yes"
		delegator, _ := store.Get[*rbacv1.ClusterRole](tx.Snapshot, "", "system:auth-delegator")
		delegator = delegator.DeepCopy()
		delegator.Rules, delegator.Annotations[rbacv1.AutoUpdateAnnotationKey] = nil, "false" // not to be touched
		everybody, _ := store.Get[*rbacv1.ClusterRoleBinding](tx.Snapshot, "", "system:discovery")
		everybody = everybody.DeepCopy()
		everybody.Subjects = []rbacv1.Subject{theUser("ann")}
		for _, o := range []store.Object{dns, delegator, everybody} {
			if err := tx.Update(o); err != nil {
				return err
			}
		}
		other, _ := store.Get[*rbacv1.ClusterRoleBinding](tx.Snapshot, "", "system:basic-user")
		if err := tx.Delete(tx.Key(other)); err != nil {
			return err
		}
		other = other.DeepCopy()
		other.ResourceVersion, other.RoleRef.Name = "", "view" // of another role
		return tx.Create(other)
	})
	if n := len(carryOut(t, m)); n != 4 {
		t.Errorf("%d writes", n)
	}
	s := m.Snapshot()
	dns, _ := store.Get[*rbacv1.ClusterRole](s, "", "system:kube-dns")
	if len(dns.Rules) != 5 || dns.Rules[0].Resources[0] != "things" || dns.Labels["mine"] != "yes" {
		t.Errorf("%+v", dns)
	}
	if d, _ := store.Get[*rbacv1.ClusterRole](s, "", "system:auth-delegator"); len(d.Rules) != 0 {
		t.Errorf("%+v", d)
	}
	if b, _ := store.Get[*rbacv1.ClusterRoleBinding](s, "", "system:discovery"); len(b.Subjects) != 2 || b.Subjects[1].Name != "system:authenticated" {
		t.Errorf("%+v", b)
	}
	if b, _ := store.Get[*rbacv1.ClusterRoleBinding](s, "", "system:basic-user"); b.RoleRef.Name != "system:basic-user" {
		t.Errorf("%+v", b)
	}
}

func TestARoleGathersWhatItSelectsAndForgetsWhatIsGone(t *testing.T) {
	m := opened(t)
	own := clusterRole("own", rules{}.may("get", "example.com", "things"))
	edit(t, m, func(tx *store.Tx) error { return tx.Create(addsTo("view", own)) })
	has := func(name string) bool {
		r, _ := store.Get[*rbacv1.ClusterRole](m.Snapshot(), "", name)
		for _, rule := range r.Rules {
			if rule.APIGroups[0] == "example.com" {
				return true
			}
		}
		return false
	}
	carryOut(t, m)
	if !has("view") || !has("edit") || !has("admin") {
		t.Error("it was not gathered")
	}
	edit(t, m, func(tx *store.Tx) error { return tx.Delete(tx.Key(own)) })
	carryOut(t, m)
	if has("view") || has("edit") || has("admin") {
		t.Error("it was not forgotten")
	}
}
