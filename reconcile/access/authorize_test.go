package access

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/mainstay-gitops/mainstay/reconcile/access/policy"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// state is a store that holds the built-in roles, and objects.
func state(t testing.TB, objects ...store.Object) *store.Memory {
	t.Helper()
	kinds := scheme.New(scheme.Options{})
	m, err := store.Open(store.NewVolatile(kinds.Stored), kinds.Stored, store.Options{Indexes: []store.Index{rbac.Index()}, Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	objects = append(policy.Objects(), objects...)
	if _, err := m.Update(context.Background(), "begin", func(tx *store.Tx) error {
		for _, o := range objects {
			kinds.Default(o)
			if err := tx.Create(o); err != nil {
				return fmt.Errorf("%s: %w", o.GetName(), err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for {
		p, err := policy.Aggregation{}.Plan(control.World{Snapshot: m.Snapshot()}, store.Key{})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Writes) == 0 {
			return m
		}
		if _, err := m.Update(context.Background(), "gather", func(tx *store.Tx) error {
			for _, w := range p.Writes {
				if err := tx.Update(w.Object); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func subject(kind, namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: kind, Namespace: namespace, Name: name}
}

func roleBinding(namespace, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: rbacv1.RoleRef{Kind: kind, Name: role}, Subjects: subjects}
}

func clusterRoleBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: subjects}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

// rule is "verbs group resources", each with commas, and names.
func rule(text string, names ...string) rbacv1.PolicyRule {
	f := strings.Fields(text)
	group := f[1]
	if group == "core" {
		group = ""
	}
	return rbacv1.PolicyRule{Verbs: strings.Split(f[0], ","), APIGroups: strings.Split(group, ","), Resources: strings.Split(f[2], ","), ResourceNames: names}
}

// people are those of whom the tables speak.
func people(name string) user.Info {
	groups := map[string][]string{
		"admin": {"system:masters"}, "ann": {"dev"}, "olga": {"ops"}, "system:serviceaccount:shop:robot": {"system:serviceaccounts", "system:serviceaccounts:shop"},
	}[name]
	if name == "system:anonymous" {
		return &user.DefaultInfo{Name: name, Groups: []string{user.AllUnauthenticated}}
	}
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func asking(t testing.TB, who, verb, what string) authorizer.AttributesRecord {
	t.Helper()
	a := authorizer.AttributesRecord{User: people(who), Verb: verb}
	if strings.HasPrefix(what, "/") {
		a.Path = what
		return a
	}
	a.ResourceRequest = true
	f := strings.Split(what, " ") // namespace group resource[/sub] [name]
	a.Namespace, a.APIGroup = f[0], f[1]
	a.Resource, a.Subresource, _ = strings.Cut(f[2], "/")
	if f[0] == "-" {
		a.Namespace = ""
	}
	if f[1] == "core" {
		a.APIGroup = ""
	}
	if len(f) > 3 {
		a.Name = f[3]
	}
	return a
}

func TestRequestsAreAuthorizedByRoles(t *testing.T) {
	m := state(t,
		clusterRoleBinding("ops", "view", subject("Group", "", "ops")),
		clusterRoleBinding("lost", "nothing", subject("User", "", "lost")),
		roleBinding("shop", "dev", "ClusterRole", "edit", subject("User", "", "eve"), subject("Group", "", "dev"), subject("User", "", "ann")),
		roleBinding("shop", "robot", "Role", "reader", subject("ServiceAccount", "", "robot")),
		roleBinding("shop", "strange", "Role", "reader", subject("User", "", "nul\x00l"), subject("Something", "", "ann")),
		role("shop", "reader", rule("get,list core pods,pods/log"), rule("get core configmaps", "prices"), rule("update apps */scale"), rule("* batch jobs")),
	)
	const yes, no = authorizer.DecisionAllow, authorizer.DecisionNoOpinion
	const robot, nobody = "system:serviceaccount:shop:robot", "system:anonymous"
	for _, c := range []struct {
		sentence        string
		who, verb, what string
		want            authorizer.Decision
		reason          string
	}{
		{"an administrator deletes nodes", "admin", "delete", "- core nodes mine", yes, ""},
		{"an administrator reads the metrics", "admin", "get", "/metrics", yes, ""},
		{"a user discovers", "zoe", "get", "/apis/apps/v1", yes, `RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated"`},
		{"a user asks for the version", "zoe", "get", "/version", yes, ""},
		{"a user writes to where one discovers", "zoe", "post", "/apis", no, ""},
		{"a user reads the metrics", "zoe", "get", "/metrics", no, ""},
		{"a user reads something that only begins alike", "zoe", "get", "/apis2", no, ""},
		{"a user asks what they may", "zoe", "create", "- authorization.k8s.io selfsubjectaccessreviews", yes, ""},
		{"a user asks what others may", "zoe", "create", "- authorization.k8s.io subjectaccessreviews", no, ""},
		{"a user without a role reads pods", "zoe", "get", "shop core pods web", no, ""},
		{"nobody asks whether the server is ready", nobody, "get", "/readyz", yes, ""},
		{"nobody asks for the version", nobody, "get", "/version", yes, ""},
		{"nobody discovers", nobody, "get", "/api", no, ""},
		{"nobody reads secrets", nobody, "list", "- core secrets", no, ""},
		{"a viewer lists pods everywhere", "olga", "list", "- core pods", yes, `RBAC: allowed by ClusterRoleBinding "ops" of ClusterRole "view" to Group "ops"`},
		{"a viewer reads a log", "olga", "get", "shop core pods/log web", yes, ""},
		{"a viewer reads a secret", "olga", "get", "shop core secrets token", no, ""},
		{"a viewer deletes a pod", "olga", "delete", "shop core pods web", no, ""},
		{"an editor deploys in their namespace", "ann", "create", "shop apps deployments", yes, `RBAC: allowed by RoleBinding "dev/shop" of ClusterRole "edit" to Group "dev"`},
		{"an editor views, by aggregation", "ann", "watch", "shop discovery.k8s.io endpointslices", yes, ""},
		{"an editor deploys elsewhere", "ann", "create", "other apps deployments", no, ""},
		{"an editor lists everywhere", "ann", "list", "- core pods", no, ""},
		{"an editor makes roles", "ann", "create", "shop rbac.authorization.k8s.io roles", no, ""},
		{"a service account reads pods", robot, "list", "shop core pods", yes, `RBAC: allowed by RoleBinding "robot/shop" of Role "reader" to ServiceAccount "robot/shop"`},
		{"a service account reads a log", robot, "get", "shop core pods/log web", yes, ""},
		{"a service account reaches into a pod", robot, "get", "shop core pods/exec web", no, ""},
		{"a service account reads the one thing it may", robot, "get", "shop core configmaps prices", yes, ""},
		{"a service account reads another", robot, "get", "shop core configmaps other", no, ""},
		{"a service account lists them, which names none", robot, "list", "shop core configmaps", no, ""},
		{"a service account scales anything of a group", robot, "update", "shop apps statefulsets/scale db", yes, ""},
		{"a service account changes what it may only scale", robot, "update", "shop apps statefulsets db", no, ""},
		{"a service account does a verb that nobody knows", robot, "sing", "shop batch jobs", yes, ""},
		{"a service account reads a subresource of what it may", robot, "get", "shop batch jobs/status x", no, ""},
		{"a service account discovers keys", robot, "get", "/openid/v1/jwks", yes, ""},
		{"another account of the same name", "system:serviceaccount:other:robot", "list", "shop core pods", no, ""},
		{"a user whose role is not there", "lost", "get", "shop core pods", no, `RBAC: clusterrole.rbac.authorization.k8s.io "nothing" not found`},
		{"a user with a name that no key holds", "nul\x00l", "get", "shop core pods", no, ""},
	} {
		got, reason := Authorize(m.Snapshot(), asking(t, c.who, c.verb, c.what))
		if got != c.want || c.reason != "" && reason != c.reason {
			t.Errorf("%s: %v %q", c.sentence, got, reason)
		}
	}
}

func TestNobodyGivesAwayMoreThanTheyHave(t *testing.T) {
	ruler := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "ruler"}, Rules: []rbacv1.PolicyRule{rule("bind rbac.authorization.k8s.io clusterroles", "view"), rule("escalate rbac.authorization.k8s.io roles")}}
	m := state(t, ruler,
		roleBinding("shop", "dev", "ClusterRole", "admin", subject("User", "", "ann")),
		clusterRoleBinding("ruler", "ruler", subject("User", "", "ruth")),
		clusterRoleBinding("root", "cluster-admin", subject("User", "", "root")),
		role("shop", "reader", rule("get core pods")),
		role("shop", "king", rule("* * *")),
	)
	gathering := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "g"}, AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}}
	was := role("shop", "king", rule("* * *"))
	let := was.DeepCopy()
	let.Finalizers = []string{"example.com/x"}
	named := was.DeepCopy()
	named.Labels = map[string]string{"a": "b"}
	for _, c := range []struct {
		sentence, who, namespace string
		new, old                 store.Object
		want                     string // in the error; "": there is none
	}{
		{"an administrator makes any role", "admin", "shop", role("shop", "x", rule("* * *")), nil, ""},
		{"one who has all makes any role", "root", "shop", role("shop", "x", rule("* * *")), nil, ""},
		{"one who has all gathers", "root", "", gathering, nil, ""},
		{"one makes a role of what they have", "ann", "shop", role("shop", "x", rule("get,list core pods,secrets")), nil, ""},
		{"one makes a role of more", "ann", "shop", role("shop", "x", rule("get,drink,eat core pods,nodes")), nil,
			`roles.rbac.authorization.k8s.io "x" is forbidden: user "ann" (groups=["dev" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:` + "\n" +
				`{APIGroups:[""], Resources:["nodes"], Verbs:["get" "drink" "eat"]}` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["drink" "eat"]}`},
		{"one makes a role of theirs elsewhere", "ann", "other", role("other", "x", rule("get core pods")), nil, "not currently held"},
		{"one makes a role of the cluster", "ann", "", &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Rules: []rbacv1.PolicyRule{rule("get core pods")}}, nil, "not currently held"},
		{"one who may escalate does", "ruth", "shop", role("shop", "x", rule("* * *")), nil, ""},
		{"one who has nothing gathers", "ruth", "", gathering, nil, "must have cluster-admin privileges to use the aggregationRule"},
		{"one binds a role of what they have", "ann", "shop", roleBinding("shop", "x", "Role", "reader"), nil, ""},
		{"one binds a cluster role of what they have", "ann", "shop", roleBinding("shop", "x", "ClusterRole", "view"), nil, ""},
		{"one binds a role of more", "ann", "shop", roleBinding("shop", "x", "Role", "king"), nil, "not currently held"},
		{"one binds a cluster role everywhere", "ann", "", clusterRoleBinding("x", "view"), nil, "not currently held"},
		{"one who may bind does", "ruth", "", clusterRoleBinding("x", "view"), nil, ""},
		{"one who may bind binds another", "ruth", "", clusterRoleBinding("x", "edit"), nil, "not currently held"},
		{"one binds a role that is not there", "ann", "shop", roleBinding("shop", "x", "Role", "none"), nil, `roles.rbac.authorization.k8s.io "none" not found`},
		{"one lets go of a role of more", "ann", "shop", let, was, ""},
		{"one labels a role of more", "ann", "shop", named, was, "not currently held"},
		{"one writes something else", "ann", "shop", &corev1.ConfigMap{}, nil, ""},
	} {
		err := Grant(m.Snapshot(), people(c.who), c.namespace, c.new, c.old)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.sentence, err)
		}
	}
}

func TestRulesAreToldOfThoseWhoHaveThem(t *testing.T) {
	m := state(t,
		roleBinding("shop", "a", "Role", "reader", subject("User", "", "ann"), subject("Group", "", "dev")),
		roleBinding("shop", "b", "Role", "gone", subject("User", "", "ann")),
		role("shop", "reader", rule("get core pods", "web")),
	)
	z := NewAuthorizer(m.Snapshot)
	resources, paths, incomplete, err := z.RulesFor(t.Context(), people("ann"), "shop")
	if err == nil || incomplete || !strings.Contains(err.Error(), `role.rbac.authorization.k8s.io "gone" not found`) {
		t.Errorf("%v %v", incomplete, err)
	}
	var got []string
	for _, r := range resources {
		got = append(got, fmt.Sprint(r.GetVerbs(), r.GetAPIGroups(), r.GetResources(), r.GetResourceNames()))
	}
	if d := cmp.Diff([]string{
		"[create] [authorization.k8s.io] [selfsubjectaccessreviews selfsubjectrulesreviews] []",
		"[create] [authentication.k8s.io] [selfsubjectreviews] []",
		"[get] [] [pods] [web]",
	}, got); d != "" {
		t.Error(d)
	}
	if len(paths) != 2 {
		t.Errorf("%d rules of paths", len(paths))
	}
	resources, _, _, err = z.RulesFor(t.Context(), people("admin"), "shop")
	if err != nil || len(resources) != 1 || resources[0].GetVerbs()[0] != "*" {
		t.Errorf("%v %v", resources, err)
	}
}

func BenchmarkAuthorizeWithAThousandBindings(b *testing.B) {
	var objects []store.Object
	for i := range 1000 {
		objects = append(objects, roleBinding(fmt.Sprintf("ns-%d", i), "b", "ClusterRole", "edit", subject("Group", "", "dev"), subject("User", "", fmt.Sprintf("u%d", i))))
	}
	s := state(b, objects...).Snapshot()
	a := asking(b, "ann", "create", "ns-500 apps deployments")
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := Authorize(s, a); d != authorizer.DecisionAllow {
			b.Fatal(d)
		}
	}
}
