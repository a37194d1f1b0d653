package health_test

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/health"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

const (
	web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, uid: d, generation: 2, annotations: {deployment.kubernetes.io/revision: "2"}}
`
	old = `
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-1, namespace: shop, uid: r1, annotations: {deployment.kubernetes.io/revision: "1"}, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}
spec: {replicas: 1}
status: {replicas: 1, readyReplicas: 1, availableReplicas: 1}
`
	newest = `
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web-2, namespace: shop, uid: r2, annotations: {deployment.kubernetes.io/revision: "2"}, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}
spec: {replicas: 2}
status: {replicas: 2, readyReplicas: 1, availableReplicas: 1}
`
)

// pod is one of the newest ReplicaSet.
func pod(name, status string) string {
	return `
---
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, namespace: shop, uid: ` + name + `, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-2, uid: r2, controller: true}]}
spec: {containers: [{name: web, image: x}]}
status: ` + status
}

func TestHealth(t *testing.T) {
	const (
		ready   = `{phase: Running, conditions: [{type: Ready, status: "True"}]}`
		crashes = `{phase: Running, containerStatuses: [{name: web, image: x, imageID: "", restartCount: 3, ready: false, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]}`
		pulls   = `{phase: Pending, containerStatuses: [{name: web, image: x, imageID: "", restartCount: 0, ready: false, state: {waiting: {reason: ErrImagePull, message: "image x not found"}}}]}`
		starts  = `{phase: Pending, containerStatuses: [{name: web, image: x, imageID: "", restartCount: 0, ready: false, state: {waiting: {reason: ContainerCreating}}}]}`
		nowhere = `{phase: Pending, conditions: [{type: PodScheduled, status: "False", message: "0/1 nodes are available: 1 Insufficient cpu."}]}`
		failed  = `{phase: Failed, containerStatuses: [{name: web, image: x, imageID: "", restartCount: 0, ready: false, state: {terminated: {exitCode: 3, message: "no such file"}}}]}`
		set     = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: shop, generation: 1}\nspec: {replicas: 2}\nstatus: "
		daemon  = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: log, namespace: shop, generation: 1}\nspec: {}\nstatus: "
		pvc     = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: shop}\nspec: {storageClassName: local, volumeName: v}\nstatus: "
		half    = `{replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 1, observedGeneration: 2}`
	)
	deployment := func(status string) string { return web + "spec: {replicas: 2}\nstatus: " + status }
	for _, c := range []struct {
		name, objects string // the first object is judged
		want          health.State
		says          string
		stuck         bool
	}{
		{"a Deployment with all replicas of the newest template is healthy", deployment(`{replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2, observedGeneration: 2}`), health.Healthy, "0/2 ready", false},
		{"one whose status is of an older spec is on its way", deployment(`{replicas: 2, updatedReplicas: 2, readyReplicas: 2, availableReplicas: 2, observedGeneration: 1}`), health.Progressing, "0/2 ready", false},
		{"old replicas do not count as ready", deployment(half) + old + newest + pod("a", ready), health.Progressing, "1/2 ready", false},
		{"a pod that is being started is no cause", deployment(half) + newest + pod("a", ready) + pod("b", starts), health.Progressing, "1/2 ready", false},
		{"an image that is not there is the cause, and may still come", deployment(half) + newest + pod("b", pulls), health.Degraded, "1/2 ready: pod b: container web: image x not found", false},
		{"the worst pod speaks for all", deployment(half) + newest + pod("b", pulls) + pod("c", crashes), health.Degraded, "1/2 ready: pod c: container web: keeps ending: out of memory (exit code 137)", true},
		{"a pod without a node says why", deployment(half) + newest + pod("b", nowhere), health.Degraded, "1/2 ready: pod b: no node for it: 0/1 nodes are available: 1 Insufficient cpu.", true},
		{"a paused rollout is said", web + "spec: {replicas: 2, paused: true}\nstatus: " + half + newest, health.Degraded, "1/2 ready: its rollout is paused", false},
		{"a rollout that is too late is stuck", deployment(`{replicas: 2, observedGeneration: 2, conditions: [{type: Progressing, status: "False", message: "too late"}]}`), health.Degraded, "0/2 ready: too late", true},
		{"a Deployment of none is healthy", web + "spec: {replicas: 0}\nstatus: {observedGeneration: 2}", health.Healthy, "Healthy", false},
		{"a ReplicaSet has what it wants", old, health.Healthy, "1/1 ready", false},
		{"a pod that is ready is healthy", pod("a", ready), health.Healthy, "Healthy", false},
		{"one that has done its work too", pod("a", `{phase: Succeeded}`), health.Healthy, "Healthy", false},
		{"one that failed will not come back", pod("a", failed), health.Degraded, "Degraded: container web: exit code 3: no such file", true},
		{"a StatefulSet with all pods is healthy", set + "{observedGeneration: 1, replicas: 2, readyReplicas: 2, availableReplicas: 2, updatedReplicas: 2}", health.Healthy, "2/2 ready", false},
		{"one that still renews is on its way", set + "{observedGeneration: 1, replicas: 2, readyReplicas: 2, availableReplicas: 2, updatedReplicas: 1}", health.Progressing, "2/2 ready", false},
		{"a DaemonSet on all its nodes is healthy", daemon + "{observedGeneration: 1, desiredNumberScheduled: 2, numberReady: 2, numberAvailable: 2, updatedNumberScheduled: 2}", health.Healthy, "2/2 ready", false},
		{"one that lacks a node is on its way", daemon + "{observedGeneration: 1, desiredNumberScheduled: 2, numberReady: 1, numberAvailable: 1, updatedNumberScheduled: 2}", health.Progressing, "1/2 ready", false},
		{"a ReplicationController has what it wants", "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: a, namespace: shop}\nspec: {replicas: 1, template: {metadata: {labels: {a: b}}}}\nstatus: {replicas: 1, readyReplicas: 1, availableReplicas: 1}", health.Healthy, "1/1 ready", false},
		{"a claim with its volume is healthy", pvc + "{phase: Bound}", health.Healthy, "Healthy", false},
		{"one that nobody serves is on its way", pvc + "{phase: Pending}", health.Progressing, "Progressing", false},
		{"one that waits for its first pod is healthy", pvc + "{phase: Pending}\n---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: local}\nprovisioner: local.mainstay.dev\nvolumeBindingMode: WaitForFirstConsumer", health.Healthy, "Healthy", false},
		{"one whose volume is gone is lost", pvc + "{phase: Lost}", health.Degraded, "Degraded: its volume v is gone", true},
		{"what is being deleted is on its way", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop, deletionTimestamp: 2026-01-02T12:00:00Z}", health.Progressing, "Progressing: it is being deleted", false},
		{"what has no health is healthy", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}", health.Healthy, "Healthy", false},
		{"a source says it itself", "apiVersion: mainstay.dev/v1alpha1\nkind: GitSource\nmetadata: {name: a, namespace: shop}\nspec: {url: 'builtin:a'}\nstatus: {objects: 0, conditions: [{type: Ready, status: \"False\", reason: Invalid, message: m, lastTransitionTime: 2026-01-02T12:00:00Z}]}", health.Degraded, "Degraded: m", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scheme.New(scheme.Options{})
			objects := controltest.Objects(t, s, c.objects)
			snapshot := controltest.Store(t, s, nil, objects...).Snapshot()
			got := health.At(snapshot, snapshot.Key(objects[0]))
			if got.State != c.want || got.String() != c.says || got.Stuck != c.stuck {
				t.Errorf("it is %s, stuck %v: %q", got.State, got.Stuck, got)
			}
		})
	}
}

func TestWhatIsGoneIsSaid(t *testing.T) {
	s := scheme.New(scheme.Options{})
	objects := controltest.Objects(t, s, old)
	snapshot := controltest.Store(t, s, nil).Snapshot()
	if got := health.At(snapshot, snapshot.Key(objects[0])); got.State != health.Gone || !got.Stuck {
		t.Errorf("it is %s", got)
	}
}
