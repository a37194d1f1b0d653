package delivery

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/health"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// shown is what a push says of the rollout of Deployment shop/web, which is ill in the given ways at the given times.
func shown(t *testing.T, at []time.Duration, ill []health.Status) (text string, done bool) {
	t.Helper()
	s := scheme.New(scheme.Options{})
	k := store.Key{Kind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "shop", Name: "web"}
	well := controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, uid: d, generation: 1, annotations: {deployment.kubernetes.io/revision: "1"}}
spec: {replicas: 3}
status: {observedGeneration: 1, replicas: 3, updatedReplicas: 3, readyReplicas: 3, availableReplicas: 3}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, namespace: shop, uid: r, annotations: {deployment.kubernetes.io/revision: "1"}, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}
spec: {replicas: 3}
status: {replicas: 3, readyReplicas: 3, availableReplicas: 3}
`)...).Snapshot()
	var out bytes.Buffer
	v := newView(&apply.Plan{Items: []apply.Item{{Key: k, Op: apply.Create}}}, controltest.Now, &out)
	for i, st := range ill {
		var all []Ailment
		if st.State != health.Healthy {
			all = []Ailment{{k, st}}
		}
		if done {
			t.Errorf("it ended before %s", at[i])
		}
		done = v.update(well, all, controltest.Now.Add(at[i]))
	}
	return out.String(), done
}

func TestARolloutIsShownUntilItIsOver(t *testing.T) {
	on := func(n int32) health.Status { return health.Status{State: health.Progressing, Ready: n, Want: 3} }
	well := health.Status{State: health.Healthy}
	crash := health.Status{State: health.Degraded, Ready: 1, Want: 3, Cause: "pod web-x: container web: keeps ending: exit code 1", Stuck: true}
	pull := health.Status{State: health.Degraded, Want: 3, Cause: "pod web-x: container web: image x not found"}
	ms := time.Millisecond
	for _, c := range []struct {
		name string
		at   []time.Duration
		ill  []health.Status
		want string
		done bool
	}{
		{"what is quick is one line", []time.Duration{100 * ms, 200 * ms, 700 * ms}, []health.Status{on(0), on(1), well},
			"deployment shop/web   3/3 ready   0.7s\nhealthy in 0.7s\n", true},
		{"what takes long says how far it is, once a second", []time.Duration{0, 500 * ms, 1100 * ms, 1300 * ms, 2200 * ms}, []health.Status{on(0), on(1), on(1), on(2), on(2)},
			"deployment shop/web   1/3 ready   1.1s\ndeployment shop/web   2/3 ready   2.2s\n", false},
		{"what is wrong is said at once, and may mend itself", []time.Duration{0, 300 * ms, 900 * ms}, []health.Status{on(0), pull, well},
			"deployment shop/web   0/3 ready: pod web-x: container web: image x not found   0.3s\ndeployment shop/web   3/3 ready   0.9s\nhealthy in 0.9s\n", true},
		{"what waiting will not mend is not waited for", []time.Duration{0, 300 * ms, 2000 * ms, 3400 * ms}, []health.Status{on(0), crash, crash, crash},
			"deployment shop/web   1/3 ready: pod web-x: container web: keeps ending: exit code 1   0.3s\n" +
				"not healthy: Deployment shop/web 1/3 ready: pod web-x: container web: keeps ending: exit code 1\n" +
				"the commit is applied, and Mainstay goes on trying; see: mainstay status\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, done := shown(t, c.at, c.ill)
			if d := cmp.Diff(c.want, text); d != "" || done != c.done {
				t.Errorf("over: %v\n%s", done, d)
			}
		})
	}
}
