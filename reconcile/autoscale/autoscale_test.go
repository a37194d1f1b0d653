package autoscale

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// meter says of each pod what its uid says.
type meter map[types.UID]map[string]Used

func (m meter) Latest() map[types.UID]map[string]Used { return m }

func used(cores float64, memory int64) map[string]Used {
	u := Used{Cores: cores / 2, Memory: memory, At: controltest.Now, Window: 10 * time.Second}
	return map[string]Used{"web": u, "side": u}
}

func TestPlans(t *testing.T) {
	m := meter{"busy": used(0.5, 30<<20), "even": used(0.165, 10<<20), "idle": used(0.01, 1<<20)}
	controltest.Golden(t, Autoscaler{Scheme: scheme.New(scheme.Options{}), Usage: m}, "testdata/*.txtar")
}

// field is a Deployment whose pods are always as many as it wants, and share a load.
type field struct {
	load float64
	pods int32
	now  time.Time
}

func (f *field) Latest() map[types.UID]map[string]Used {
	all := map[types.UID]map[string]Used{}
	for i := range f.pods {
		all[types.UID(fmt.Sprint("pod-", i))] = map[string]Used{"web": {Cores: f.load / float64(f.pods), At: f.now, Window: 10 * time.Second}}
	}
	return all
}

func TestALoadThatComesAndGoesIsFollowedWithinBounds(t *testing.T) {
	s := scheme.New(scheme.Options{})
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		f := &field{load: 0.1, pods: 2, now: controltest.Now}
		behavior := ""
		if seed%2 == 1 {
			behavior = ", behavior: {scaleUp: {policies: [{type: Pods, value: 2, periodSeconds: 60}]}, scaleDown: {stabilizationWindowSeconds: 60, policies: [{type: Percent, value: 50, periodSeconds: 60}]}}"
		}
		st := controltest.Store(t, s, nil, controltest.Objects(t, s, `
apiVersion: v1
kind: Namespace
metadata: {name: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: hello, uid: d}
spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'hello:v1'}]}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: hello, uid: hpa}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}, minReplicas: 2, maxReplicas: 12`+behavior+`}
`)...)
		opts := control.Options{Now: func() time.Time { return f.now }, Rand: rng}
		engine := control.NewEngine(st, control.NewCarrier(s), opts, Autoscaler{Scheme: s, Usage: f})
		var sizes []int32
		size := func() int32 {
			d, _ := store.Get[*appsv1.Deployment](st.Snapshot(), "hello", "web")
			return *d.Spec.Replicas
		}
		for minute := range 120 {
			if minute%20 == 0 {
				f.load = rng.Float64() * 1.5
			}
			for range 4 {
				if rng.IntN(20) == 0 { // a restart forgets nothing
					engine = control.NewEngine(st, control.NewCarrier(s), opts, Autoscaler{Scheme: s, Usage: f})
				}
				f.pods = size()
				resetPods(t, s, st, f.pods)
				for engine.Step(t.Context()) {
				}
				f.now = f.now.Add(Period)
			}
			sizes = append(sizes, size())
			if n := size(); n < 2 || n > 12 {
				t.Fatalf("seed %d: %d replicas", seed, n)
			}
			if minute > 0 && behavior != "" && size() > sizes[minute-1]+3 { // a minute and the edges of two
				t.Errorf("seed %d: from %d to %d in a minute", seed, sizes[minute-1], size())
			}
			want := max(2, min(12, int32(f.load/0.08+0.999)))
			if got := size(); minute%20 == 19 && (got < want*8/10 || got > want*12/10+1) {
				t.Errorf("seed %d: a load of %.2f is left to %d replicas, %d are about right", seed, f.load, got, want)
			}
		}
		h, _ := store.Get[*autoscalingv2.HorizontalPodAutoscaler](st.Snapshot(), "hello", "web")
		if n := len(h.Annotations[memoryKey]); n > 8000 {
			t.Errorf("seed %d: its memory takes %d bytes", seed, n)
		}
	}
}

// resetPods makes n pods that have long been ready.
func resetPods(t *testing.T, s *scheme.Scheme, st *store.Memory, n int32) {
	if _, err := st.Update(t.Context(), "test", func(tx *store.Tx) error {
		for i := range int32(13) {
			k := store.Key{Kind: store.Kinds.Of(s.Stored, &corev1.Pod{}).GroupKind(), Namespace: "hello", Name: fmt.Sprint("pod-", i)}
			_, there := tx.Get(k)
			switch {
			case there && i >= n:
				if err := tx.Delete(k); err != nil {
					return err
				}
			case !there && i < n:
				o := controltest.Objects(t, s, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: pod-%d, namespace: hello, labels: {app: web}, uid: pod-%d}
spec: {nodeName: n1, containers: [{name: web, image: 'hello:v1', resources: {requests: {cpu: 100m}}}]}
status: {phase: Running, startTime: 2026-01-02T10:00:00Z, conditions: [{type: Ready, status: 'True', lastTransitionTime: 2026-01-02T10:00:05Z}]}
`, i, i))
				if err := tx.Create(o[0]); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
