package apply

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/access/rbac"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/patch"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// bench is a store with sources that apply to it.
type bench struct {
	t       testing.TB
	scheme  *scheme.Scheme
	store   *store.Memory
	applier *Applier
	rng     *rand.Rand
	files   map[string]map[string]string // by source, then path: what is applied
	texts   map[string]string            // by path: what was last read
}

func newBench(t testing.TB) *bench {
	s := scheme.New(scheme.Options{})
	p, err := patch.New(s)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, scheme: s, applier: New(s, p, nil), rng: rand.New(rand.NewPCG(1, 2)), files: map[string]map[string]string{}, texts: map[string]string{}}
	b.store = controltest.Store(t, s, []store.Index{Index(), rbac.Index()}, controltest.Objects(t, s, `
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: mainstay.dev/v1alpha1
kind: GitSource
metadata: {name: a, namespace: default}
spec: {url: "builtin:a"}
---
apiVersion: mainstay.dev/v1alpha1
kind: GitSource
metadata: {name: b, namespace: default}
spec: {url: "builtin:b"}
`)...)
	return b
}

func (b *bench) source(name string) Source {
	g, ok := store.Get[*v1alpha1.GitSource](b.store.Snapshot(), "default", name)
	if !ok {
		b.t.Fatalf("no source %s", name)
	}
	return SourceOf(g)
}

// change is the change from what a source has applied to files.
func (b *bench) change(source string, files map[string]string) gitsource.Change {
	var c gitsource.Change
	c.Manifests = len(files)
	before := b.files[source]
	for path, text := range files {
		if before[path] == text && before != nil {
			continue
		}
		r := decode.File(path, []byte(text), b.scheme)
		if len(r.Errors) > 0 {
			b.t.Fatal(r.Errors)
		}
		b.texts[path] = text
		c.Files = append(c.Files, gitsource.File{Path: path, Documents: r.Documents})
	}
	for path := range before {
		if _, ok := files[path]; !ok {
			c.Gone = append(c.Gone, path)
		}
	}
	return c
}

func (b *bench) prepare(source string, c gitsource.Change, confirmed bool) (*Plan, error) {
	texts := b.texts
	locate := func(o decode.Origin, path string) int { return decode.Locate([]byte(texts[o.Path]), o.Index, path) }
	return b.applier.Prepare(b.store.Snapshot(), Request{Source: b.source(source), Change: c, Confirmed: confirmed, Now: controltest.Now, Rand: b.rng, Locate: locate})
}

// apply applies files and returns the plan as it is printed, and what went wrong.
func (b *bench) apply(source string, files map[string]string, confirmed ...bool) (string, error) {
	plan, err := b.prepare(source, b.change(source, files), len(confirmed) > 0)
	if err != nil {
		return "", err
	}
	if _, err := b.store.Update(b.t.Context(), "git", func(tx *store.Tx) error { return b.applier.Execute(tx, plan, controltest.Now, b.rng) }); err != nil {
		return "", err
	}
	b.files[source] = files
	var text strings.Builder
	plan.Print(&text)
	_, body, _ := strings.Cut(text.String(), "\n")
	return strings.TrimSpace(body), nil
}

func (b *bench) must(source string, files map[string]string, want string) {
	b.t.Helper()
	got, err := b.apply(source, files, true)
	if err != nil {
		b.t.Fatal(err)
	}
	if got != strings.TrimSpace(want) {
		b.t.Errorf("the plan is\n%s\nwant\n%s", got, want)
	}
}

func (b *bench) refused(source string, files map[string]string, want string) {
	b.t.Helper()
	got, err := b.apply(source, files)
	if err == nil {
		b.t.Fatalf("it was applied:\n%s", got)
	}
	if !strings.Contains(err.Error(), want) {
		b.t.Errorf("refused with\n%s\nwant\n%s", err, want)
	}
	if !IsRefusal(err) {
		b.t.Errorf("%v does not count as a refusal", err)
	}
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  key: v%s\n", name, value)
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: hello:v1
`

func TestACommitIsAppliedAndTheSameCommitAgainChangesNothing(t *testing.T) {
	b := newBench(t)
	files := map[string]string{"a.yaml": configMap("one", "1") + "---\n" + configMap("two", "2"), "web.yaml": deployment}
	b.must("a", files, "+ ConfigMap default/one   + ConfigMap default/two   + Deployment default/web")
	b.files["a"] = nil
	at := b.store.Snapshot().Revision()
	b.must("a", files, "nothing changes")
	for o := range b.store.Snapshot().List(store.Query{}) {
		if _, inventory := o.(*v1alpha1.Inventory); !inventory && store.RevisionOf(o) > at {
			t.Errorf("%s was written again", o.GetName())
		}
	}
}

// next is deployment with another image.
var next = strings.Replace(deployment, "hello:v1", "hello:v2", 1)

func TestOnlyWhatChangedIsInThePlan(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": configMap("one", "1"), "web.yaml": deployment}, "+ ConfigMap default/one   + Deployment default/web")
	b.must("a", map[string]string{"a.yaml": configMap("one", "1"), "web.yaml": next},
		"~ Deployment default/web   spec.template.spec.containers[web].image: hello:v1 -> hello:v2")
	d, _ := store.Get[*appsv1.Deployment](b.store.Snapshot(), "default", "web")
	if d.Generation != 2 || d.Spec.Template.Spec.Containers[0].Image != "hello:v2" {
		t.Errorf("generation %d, image %s", d.Generation, d.Spec.Template.Spec.Containers[0].Image)
	}
}

func TestWhatLeavesTheRepositoryIsPruned(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": configMap("one", "1") + "---\n" + configMap("two", "2"), "b.yaml": configMap("three", "3")},
		"+ ConfigMap default/one   + ConfigMap default/three   + ConfigMap default/two")
	b.must("a", map[string]string{"a.yaml": configMap("one", "1")}, "- ConfigMap default/three   - ConfigMap default/two")
	if _, ok := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "three"); ok {
		t.Error("three is still there")
	}
}

func TestAnObjectThatMovesToAnotherFileStays(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": configMap("one", "1"), "b.yaml": configMap("two", "2")}, "+ ConfigMap default/one   + ConfigMap default/two")
	b.must("a", map[string]string{"b.yaml": configMap("two", "2") + "---\n" + configMap("one", "1")}, "nothing changes")
	for inv := range Listing(b.store.Snapshot(), store.Key{Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap").GroupKind(), Namespace: "default", Name: "one"}) {
		if inv.Spec.Path != "b.yaml" {
			t.Errorf("it is listed in %s", inv.Spec.Path)
		}
	}
}

func TestAnAnnotationKeepsWhatLeaves(t *testing.T) {
	b := newBench(t)
	keep := strings.Replace(configMap("one", "1"), "  name: one\n", "  name: one\n  annotations: {mainstay.dev/prune: disabled}\n", 1)
	b.must("a", map[string]string{"a.yaml": keep, "b.yaml": configMap("two", "2")}, "+ ConfigMap default/one   + ConfigMap default/two")
	b.must("a", map[string]string{"b.yaml": configMap("two", "2")}, "kept: ConfigMap default/one\nnothing changes")
	if _, ok := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "one"); !ok {
		t.Error("it is gone")
	}
}

func TestACommitThatTakesAwayTooMuchNeedsAConfirmation(t *testing.T) {
	b := newBench(t)
	files := map[string]string{}
	for i := range 12 {
		files[fmt.Sprintf("%02d.yaml", i)] = configMap(fmt.Sprintf("c%02d", i), "1")
	}
	if _, err := b.apply("a", files); err != nil {
		t.Fatal(err)
	}
	less := map[string]string{}
	for i := range 5 {
		less[fmt.Sprintf("%02d.yaml", i)] = files[fmt.Sprintf("%02d.yaml", i)]
	}
	b.refused("a", less, "7 of the 12 objects of source default/a leave the repository")
	b.refused("a", map[string]string{}, "12 of the 12 objects")
	if _, err := b.apply("a", less, true); err != nil {
		t.Fatal(err)
	}
	b.refused("a", map[string]string{}, "5 of the 5 objects")
}

func TestAnObjectOfAnotherSourceIsRefusedAndBothAreNamed(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"x/a.yaml": configMap("one", "1")}, "+ ConfigMap default/one")
	b.refused("b", map[string]string{"b.yaml": configMap("two", "2") + "---\n" + configMap("one", "1")},
		"b.yaml:11: ConfigMap default/one belongs to source default/a (x/a.yaml:1), source default/b cannot have it too")
	if _, ok := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "two"); ok {
		t.Error("half of the commit was applied")
	}
}

func TestAnObjectThatAnotherSourceWantsIsLeftToIt(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": configMap("one", "1"), "z.yaml": configMap("z", "1")}, "+ ConfigMap default/one   + ConfigMap default/z")
	plan, err := b.applier.Prepare(b.store.Snapshot(), Request{Source: b.source("a"), Change: b.change("a", map[string]string{"z.yaml": configMap("z", "1")}),
		Now: controltest.Now, Rand: b.rng, Claimed: func(k store.Key) bool { return k.Name == "one" }})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Count(Keep) != 1 || plan.Count(Prune) != 0 {
		t.Errorf("%+v", plan.Items)
	}
}

func TestAnObjectOfNobodyIsAdopted(t *testing.T) {
	b := newBench(t)
	if _, err := b.store.Update(t.Context(), "kubectl", func(tx *store.Tx) error {
		return tx.Create(controltest.Objects(t, b.scheme, strings.Replace(configMap("one", "0"), "name: one", "name: one\n  namespace: default", 1))[0])
	}); err != nil {
		t.Fatal(err)
	}
	b.must("a", map[string]string{"a.yaml": configMap("one", "1")}, "~ ConfigMap default/one   data.key: v0 -> v1\nadopted: ConfigMap default/one")
	b.files["a"] = nil
	b.must("a", map[string]string{"a.yaml": configMap("one", "1")}, "nothing changes")
}

func TestAllThatIsWrongIsToldAtOnceWithItsPlace(t *testing.T) {
	b := newBench(t)
	b.refused("a", map[string]string{
		"a.yaml": configMap("One", "1"),
		"b.yaml": strings.Replace(deployment, "app: web}}\n    spec", "app: other}}\n    spec", 1),
		"c.yaml": strings.Replace(configMap("one", "1"), "name: one", "name: one\n  namespace: nowhere", 1),
	}, "errors in 3 manifests")
}

func TestACommitThatBringsItsNamespaceIsApplied(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": strings.Replace(configMap("one", "1"), "name: one", "name: one\n  namespace: new", 1) + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: new}\n"},
		"+ Namespace new   + ConfigMap new/one")
}

func TestAFieldThatCannotChangeIsNamedOrTheObjectReplaced(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"web.yaml": deployment}, "+ Deployment default/web")
	other := strings.ReplaceAll(deployment, "app: web", "app: other")
	b.refused("a", map[string]string{"web.yaml": other}, "spec.selector")
	replace := strings.Replace(other, "  name: web\nspec", "  name: web\n  annotations: {mainstay.dev/replace: 'true'}\nspec", 1)
	got, err := b.apply("a", map[string]string{"web.yaml": replace})
	if err != nil || !strings.HasPrefix(got, "± Deployment default/web") {
		t.Fatalf("%s %v", got, err)
	}
	b.files["a"] = nil
	b.must("a", map[string]string{"web.yaml": replace}, "+ Deployment default/web")
}

func TestASourceKeepsWithinItsLimits(t *testing.T) {
	b := newBench(t)
	s := b.source("a")
	s.Allow = &v1alpha1.GitAllow{Namespaces: []string{"team"}, Kinds: []string{"ConfigMap"}}
	_, err := b.applier.Prepare(b.store.Snapshot(), Request{Source: s, Change: b.change("a", map[string]string{"a.yaml": configMap("one", "1"), "web.yaml": deployment}), Now: controltest.Now, Rand: b.rng})
	for _, want := range []string{"a.yaml:1: ConfigMap default/one: source default/a may write only in team", "Deployment default/web: source default/a may bring only ConfigMap"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("refused with\n%v\nwant\n%s", err, want)
		}
	}
}

func TestAPlanMadeOnGroundThatHasShiftedIsNotExecuted(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": configMap("one", "1")}, "+ ConfigMap default/one")
	c := b.change("a", map[string]string{"a.yaml": configMap("one", "2") + "---\n" + configMap("two", "1")})
	plan, err := b.prepare("a", c, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Update(t.Context(), "kubectl", func(tx *store.Tx) error {
		live, _ := store.Get[*corev1.ConfigMap](tx.Snapshot, "default", "one")
		next := live.DeepCopy()
		next.Data["more"] = "by hand"
		return tx.Update(next)
	}); err != nil {
		t.Fatal(err)
	}
	execute := func(p *Plan) error {
		_, err := b.store.Update(t.Context(), "git", func(tx *store.Tx) error { return b.applier.Execute(tx, p, controltest.Now, b.rng) })
		return err
	}
	if err := execute(plan); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("error %v, want a conflict", err)
	}
	again, err := b.applier.Prepare(b.store.Snapshot(), Request{Source: b.source("a"), Change: c, Before: plan, Now: controltest.Now.Add(time.Second), Rand: b.rng})
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range again.Items {
		if item.Key.Name == "two" && item.next != plan.Items[i].next {
			t.Error("what had not changed was prepared again")
		}
	}
	if err := execute(again); err != nil {
		t.Fatal(err)
	}
	got, _ := store.Get[*corev1.ConfigMap](b.store.Snapshot(), "default", "one")
	if got.Data["key"] != "v2" || got.Data["more"] != "by hand" {
		t.Errorf("data %v", got.Data)
	}
}

// random is a repository: files with some of the objects there are.
func random(rng *rand.Rand) map[string]string {
	files := map[string]string{}
	for i := range 8 {
		if rng.IntN(3) == 0 {
			continue
		}
		path := fmt.Sprintf("f%d.yaml", rng.IntN(4))
		text := configMap(fmt.Sprintf("c%d", i), fmt.Sprint(rng.IntN(3)))
		if i == 0 {
			text = strings.Replace(deployment, "replicas: 2", fmt.Sprintf("replicas: %d", rng.IntN(3)), 1)
		}
		files[path] += text + "---\n"
	}
	return files
}

func TestWhatIsAppliedIsWhatIsInTheRepositoryAndApplyingTwiceIsEmpty(t *testing.T) {
	for seed := range uint64(30) {
		b := newBench(t)
		b.rng = rand.New(rand.NewPCG(seed, 0))
		for range 10 {
			files := random(b.rng)
			if _, err := b.apply("a", files, true); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			full := b.change("a", files)
			full.All, full.Files = true, nil
			b.files["a"] = nil
			full.Files = b.change("a", files).Files
			b.files["a"] = files
			plan, err := b.prepare("a", full, true)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !plan.Empty() {
				t.Fatalf("seed %d: applied again, the plan is not empty: %+v", seed, plan.Items)
			}
			want := map[string]bool{}
			for _, f := range full.Files {
				for _, d := range f.Documents {
					want[d.Object.GetKind()+"/"+d.Object.GetName()] = true
				}
			}
			for o := range b.store.Snapshot().List(store.Query{Namespace: "default"}) {
				switch o.(type) {
				case *corev1.ConfigMap, *appsv1.Deployment:
					if name := b.store.Snapshot().Key(o).Kind.Kind + "/" + o.GetName(); !want[name] {
						t.Fatalf("seed %d: %s is live and not in the repository", seed, name)
					} else {
						delete(want, name)
					}
				}
			}
			if len(want) > 0 {
				t.Fatalf("seed %d: in the repository and not live: %v", seed, want)
			}
		}
	}
}

func TestASourceMayBeLimitedToTheRightsOfAServiceAccount(t *testing.T) {
	b := newBench(t)
	b.must("a", map[string]string{"a.yaml": `
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [create, patch]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer}
roleRef: {kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, name: deployer}]
`}, "+ ServiceAccount default/deployer   + Role default/deployer   + RoleBinding default/deployer")
	limit := func(account string) {
		b.edit("b", func(g *v1alpha1.GitSource) { g.Spec.Allow = &v1alpha1.GitAllow{ServiceAccount: account} })
	}
	limit("nobody")
	b.refused("b", map[string]string{"b.yaml": configMap("one", "1")}, "serviceaccount default/nobody is not there")
	limit("deployer")
	b.must("b", map[string]string{"b.yaml": configMap("one", "1")}, "+ ConfigMap default/one")
	b.must("b", map[string]string{"b.yaml": configMap("one", "2")}, "~ ConfigMap default/one   data.key: v1 -> v2")
	b.refused("b", map[string]string{"b.yaml": configMap("one", "2"), "web.yaml": deployment},
		`Deployment default/web: source default/b may not: serviceaccount default/deployer cannot create resource "deployments" in API group "apps" in the namespace "default"`)
	b.refused("b", map[string]string{"b.yaml": ""}, `cannot delete resource "configmaps"`)
	b.refused("b", map[string]string{"b.yaml": configMap("one", "2"), "role.yaml": `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: more}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]
`}, "is attempting to grant RBAC permissions not currently held")
}

// edit changes a source.
func (b *bench) edit(name string, change func(*v1alpha1.GitSource)) {
	b.t.Helper()
	if _, err := b.store.Update(b.t.Context(), "edit", func(tx *store.Tx) error {
		g, _ := store.Get[*v1alpha1.GitSource](tx.Snapshot, "default", name)
		g = g.DeepCopy()
		change(g)
		return tx.Update(g)
	}); err != nil {
		b.t.Fatal(err)
	}
}
