package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	simFinalizer = "example.com/hold"
	simHolder    = "holder" // who takes it away
)

// A simApp is what the user wants of one app: a Deployment, its Service and its ConfigMap, and a Service that leads outside.
type simApp struct {
	Namespace, Name    string
	Replicas           int
	Image              string
	Config             int
	Surge, Unavailable string
	Recreate, Paused   bool
	MinReady           int
	Grace              int
	Port               int
	Probed, Held       bool
	HostPort           int // 0: none; with one, there is one pod at most
}

func (a simApp) key() string { return a.Namespace + "/" + a.Name }

// yaml is the app's file.
func (a simApp) yaml() string {
	strategy := fmt.Sprintf("{type: RollingUpdate, rollingUpdate: {maxSurge: %s, maxUnavailable: %s}}", a.Surge, a.Unavailable)
	if a.Recreate {
		strategy = "{type: Recreate}"
	}
	meta, probe, port := "", "", ""
	if a.HostPort > 0 {
		port = fmt.Sprint(", hostPort: ", a.HostPort)
	}
	if a.Held {
		meta = ", finalizers: [" + simFinalizer + "]"
	}
	if a.Probed {
		probe = `
        readinessProbe: {periodSeconds: 2, failureThreshold: 2, timeoutSeconds: 60, exec: {command: [/prog, exit, "0"]}}`
	}
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: %[1]s, namespace: %[2]s}
data: {greeting: "hello %[3]d"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s, labels: {app: %[1]s}}
spec:
  replicas: %[4]d
  revisionHistoryLimit: 2
  progressDeadlineSeconds: 60
  minReadySeconds: %[5]d
  paused: %[6]v
  strategy: %[7]s
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}%[8]s}
    spec:
      terminationGracePeriodSeconds: %[9]d
      volumes: [{name: config, configMap: {name: %[1]s}}]
      containers:
      - name: web
        image: %[10]s
        ports: [{name: http, containerPort: %[11]d%[13]s}]
        env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: %[1]s, key: greeting}}}]
        volumeMounts: [{name: config, mountPath: /config}]
        resources: {requests: {cpu: 100m, memory: 64Mi}}%[12]s
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  selector: {app: %[1]s}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s-outside, namespace: %[2]s}
spec: {clusterIP: None, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: %[1]s-outside, namespace: %[2]s}
subsets: [{addresses: [{ip: 198.51.100.%[14]d}], ports: [{port: 5432}]}]
`, a.Name, a.Namespace, a.Config, a.Replicas, a.MinReady, a.Paused, strategy, meta, a.Grace, a.Image, a.Port, probe, port, 1+a.Config)
}

// A simCommit is the files of one commit.
type simCommit struct {
	gitsource.Commit
	files map[string]string
	apps  map[string]simApp
}

// A simRepo is a repository, and the user who pushes to it.
type simRepo struct {
	scheme  *scheme.Scheme
	apps    map[string]simApp
	sets    simSets
	commits []simCommit // the first is empty
}

func newSimRepo(s *scheme.Scheme) *simRepo {
	return &simRepo{scheme: s, apps: map[string]simApp{}, commits: []simCommit{{}}}
}

func (r *simRepo) head() simCommit { return r.commits[len(r.commits)-1] }

// commit adds a commit with the apps as they are now.
func (r *simRepo) commit() {
	c := simCommit{files: map[string]string{"sets.yaml": r.sets.yaml()}, apps: maps.Clone(r.apps)}
	for key, a := range r.apps {
		c.files["apps/"+key+".yaml"] = a.yaml()
		if a.Namespace != metav1.NamespaceDefault {
			c.files["namespaces/"+a.Namespace+".yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + a.Namespace + "}\n" +
				"---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: most, namespace: " + a.Namespace + "}\nspec: {hard: {pods: 1000, count/replicasets.apps: 1000}}\n"
		}
	}
	hash, err := tree.ParseHash(fmt.Sprintf("%040x", len(r.commits)))
	if err != nil {
		panic(err)
	}
	c.Hash, c.Subject = hash, fmt.Sprint("commit ", len(r.commits))
	r.commits = append(r.commits, c)
}

// push is a commit that changes one to three things.
func (r *simRepo) push(rng *rand.Rand) {
	for range 1 + rng.IntN(3) {
		keys := slices.Sorted(maps.Keys(r.apps))
		if len(keys) == 0 || len(keys) < 3 && rng.IntN(3) == 0 {
			r.add(rng)
			continue
		}
		key := keys[rng.IntN(len(keys))]
		if rng.IntN(10) == 0 {
			delete(r.apps, key)
			continue
		}
		r.apps[key] = r.apps[key].changed(rng)
	}
	r.sets = r.sets.changed(rng)
	r.commit()
}

func (r *simRepo) add(rng *rand.Rand) {
	a := simApp{
		Namespace: []string{"default", "shop"}[rng.IntN(2)], Name: []string{"web", "api"}[rng.IntN(2)],
		Replicas: 1 + rng.IntN(4), Image: "example.com/web:v1", Surge: "25%", Unavailable: "25%", Port: 8080,
		Grace: []int{0, 2, 30}[rng.IntN(3)], Probed: rng.IntN(2) == 0, Held: rng.IntN(5) == 0,
	}
	if rng.IntN(3) == 0 {
		a.HostPort = 9000 + 1000*len(a.Namespace) + int(a.Name[0])
	}
	if _, ok := r.apps[a.key()]; !ok {
		r.apps[a.key()] = a.fitting()
	}
}

// fitting is the app such as it can be well: two pods cannot have one port of the machine.
func (a simApp) fitting() simApp {
	if a.HostPort > 0 {
		a.Replicas, a.Recreate = min(a.Replicas, 1), true
	}
	return a
}

func (a simApp) changed(rng *rand.Rand) simApp {
	switch rng.IntN(16) {
	case 0, 1:
		a.Replicas = rng.IntN(6)
	case 2, 3, 4, 5:
		a.Image = "example.com/web:" + []string{"v1", "v2", "v3", "v1", "v2", "v3", "crash", "deaf", "tough", "nowhere"}[rng.IntN(10)]
	case 6, 14, 15:
		a.Config++
	case 7, 8:
		fence := [][2]string{{"1", "0"}, {"0", "1"}, {"50%", "0"}, {"2", "2"}, {"0", "60%"}, {"25%", "25%"}}[rng.IntN(6)]
		a.Surge, a.Unavailable = fence[0], fence[1]
	case 9:
		a.Recreate = !a.Recreate
	case 10:
		a.Paused = !a.Paused
	case 11:
		a.MinReady = rng.IntN(3) * 3
	case 12:
		a.Probed = !a.Probed
	case 13:
		a.Port = 8080 + rng.IntN(2)
	}
	return a.fitting()
}

// mend is the last commit: all apps are such as can be well.
func (r *simRepo) mend() {
	for key, a := range r.apps {
		a.Paused = false
		if _, ok := simRegistry[a.Image]; !ok || strings.HasSuffix(a.Image, "crash") || strings.HasSuffix(a.Image, "deaf") {
			a.Image = "example.com/web:v2"
		}
		r.apps[key] = a
	}
	r.commit()
}

// renew is a commit with another image for all, when nothing fails.
func (r *simRepo) renew() {
	for key, a := range r.apps {
		if a.Image = "example.com/web:v3"; r.head().apps[key].Image == a.Image {
			a.Image = "example.com/web:v1"
		}
		r.apps[key] = a
	}
	r.sets.Version++
	r.commit()
}

// change is what Git brings between two commits; from the empty one it is everything.
func (r *simRepo) change(from, to simCommit) (gitsource.Change, error) {
	c := gitsource.Change{Commit: to.Commit, All: from.IsZero(), Manifests: len(to.files)}
	for _, path := range slices.Sorted(maps.Keys(to.files)) {
		if from.files[path] == to.files[path] {
			continue
		}
		d := decode.File(path, []byte(to.files[path]), r.scheme)
		if len(d.Errors) > 0 {
			return c, d.Errors
		}
		c.Files = append(c.Files, gitsource.File{Path: path, Documents: d.Documents})
	}
	for _, path := range slices.Sorted(maps.Keys(from.files)) {
		if _, ok := to.files[path]; !ok {
			c.Gone = append(c.Gone, path)
		}
	}
	return c, nil
}

// applied is the commit that the store says is applied, and the source that says so; nil if there is none yet.
func (w *sim) applied(s *store.Snapshot) (simCommit, *v1alpha1.GitSource) {
	g, ok := store.Get[*v1alpha1.GitSource](s, metav1.NamespaceDefault, "apps")
	if !ok || g.Status.Applied == nil {
		return simCommit{}, g
	}
	for _, c := range w.git.commits {
		if c.Hash.String() == g.Status.Applied.Hash {
			return c, g
		}
	}
	w.t.Fatalf("nobody has pushed %s", g.Status.Applied.Hash)
	return simCommit{}, nil
}

// deliver brings the newest commit into the store, as delivery does.
func (l *simLife) deliver() bool {
	w := l.sim
	st := simStore{l.store, w}
	s := l.store.Snapshot()
	from, source := w.applied(s)
	to := w.git.head()
	if source == nil {
		return l.makeSource(s)
	}
	if from.Hash == to.Hash || w.now.Before(l.retry) {
		return false
	}
	if w.rng.IntN(4) == 0 {
		from = simCommit{} // as after a start that could not find it
	}
	change, err := w.git.change(from, to)
	w.must(err)
	plan, err := w.applier.Prepare(s, w.request(source, change))
	if err == nil {
		_, err = st.Update(l.ctx, "git "+plan.Source.String()+" "+plan.Commit.Subject, func(tx *store.Tx) error {
			if err := w.applier.Execute(tx, plan, w.now, l.rng); err != nil {
				return err
			}
			return l.noteApplied(tx, to)
		})
	}
	switch {
	case err == nil:
		w.check.commit(from, to)
	case apply.IsRefusal(err):
		l.retry = w.now.Add(3 * time.Second)
		w.check.refused(to, err)
	case !errors.Is(err, store.ErrConflict):
		l.retry = w.now.Add(time.Second)
	}
	return true
}

func (w *sim) request(source *v1alpha1.GitSource, change gitsource.Change) apply.Request {
	return apply.Request{Source: apply.SourceOf(source), Change: change, Confirmed: true, Now: w.now, Rand: w.life.rng}
}

func (l *simLife) makeSource(s *store.Snapshot) bool {
	var p control.Plan
	p.Create(&v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "apps"}, Spec: v1alpha1.GitSourceSpec{URL: "builtin:apps"}}, "the user wants it")
	w := control.World{Snapshot: s, Now: l.sim.now, Rand: l.rng}
	_, err := simStore{l.store, l.sim}.Update(l.ctx, "git source", func(tx *store.Tx) error { return l.carrier.Carry(tx, w, "user", p) })
	return err == nil
}

func (l *simLife) noteApplied(tx *store.Tx, c simCommit) error {
	live, ok := store.Get[*v1alpha1.GitSource](tx.Snapshot, metav1.NamespaceDefault, "apps")
	if !ok {
		return store.ErrNotFound
	}
	next := live.DeepCopy()
	next.Status.Applied = &v1alpha1.GitCommit{Hash: c.Hash.String(), Subject: c.Subject, Time: metav1.NewTime(l.sim.now)}
	l.sim.scheme.Of(next).PrepareInside(next, live)
	return tx.Update(next)
}

// deliveryDue is when a commit that was refused is tried again.
func (l *simLife) deliveryDue() (time.Time, bool) { return l.retry, l.sim.now.Before(l.retry) }
