package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// simSets is what the user wants of a DaemonSet, a StatefulSet and a ReplicationController, which are in every commit.
type simSets struct {
	Version  int // of all their images
	Replicas int // of the StatefulSet, less one
}

func (s simSets) changed(rng *rand.Rand) simSets {
	switch rng.IntN(5) {
	case 0, 1:
		s.Version++
	case 2:
		s.Replicas = rng.IntN(3)
	}
	return s
}

func (s simSets) image() string { return fmt.Sprintf("example.com/web:v%d", s.Version%3+1) }

// yaml is their file.
func (s simSets) yaml() string {
	const template = `
  template:
    metadata: {labels: {app: %s}}
    spec:
      terminationGracePeriodSeconds: 2
      containers: [{name: web, image: %s}]
      volumes: [%s]
`
	pods := func(app string, volumes ...string) string {
		return fmt.Sprintf(template, app, s.image(), strings.Join(volumes, ","))
	}
	return `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log, namespace: default}
spec:
  revisionHistoryLimit: 2
  selector: {matchLabels: {app: log}}` + pods("log") + `---
apiVersion: v1
kind: ReplicationController
metadata: {name: old, namespace: default}
spec:
  selector: {app: old}` + pods("old", "{name: scratch, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOncePod], resources: {requests: {storage: 1Mi}}}}}}") + `---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  replicas: ` + fmt.Sprint(s.Replicas+1) + `
  serviceName: db
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}]
  revisionHistoryLimit: 2
  selector: {matchLabels: {app: db}}` + pods("db")
}

func simSetKeys() []store.Key {
	key := func(group, kind, name string) store.Key {
		return store.Key{Kind: schema.GroupKind{Group: group, Kind: kind}, Namespace: metav1.NamespaceDefault, Name: name}
	}
	return []store.Key{key("apps", "DaemonSet", "log"), key("apps", "StatefulSet", "db"), key("", "ReplicationController", "old")}
}

// inOrder looks at pods of the StatefulSet that a transaction made.
func (c *simCheck) inOrder(after *store.Snapshot, d store.Delta) {
	for _, ch := range d.Changes {
		p, is := ch.New.(*corev1.Pod)
		if !is || ch.Old != nil || p.Labels[appsv1.PodIndexLabel] == "" {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(p.Name, "db-%d", &n); err != nil {
			c.t.Errorf("%s is a strange name", p.Name)
		}
		for i := range n {
			before, ok := store.Get[*corev1.Pod](c.life.planned, p.Namespace, fmt.Sprintf("db-%d", i))
			if !ok || before.DeletionTimestamp != nil || before.Status.Phase != corev1.PodRunning {
				c.t.Errorf("%s is made while db-%d does not run", p.Name, i)
			}
		}
	}
}

// restFolders checks that there is a folder for each volume, and no other, and a volume for each claim.
func (w *sim) restFolders(s *store.Snapshot) {
	var volumes, folders []string
	for v := range store.List[*corev1.PersistentVolume](s) {
		volumes = append(volumes, v.Spec.CSI.VolumeHandle)
	}
	entries, err := os.ReadDir(w.folders)
	w.must(err)
	for _, e := range entries {
		folders = append(folders, e.Name())
	}
	slices.Sort(volumes)
	if !slices.Equal(volumes, folders) {
		w.t.Errorf("there are volumes %q and folders %q", volumes, folders)
	}
	claims := 0
	for c := range store.List[*corev1.PersistentVolumeClaim](s) {
		if claims++; c.Status.Phase != corev1.ClaimBound {
			w.t.Errorf("claim %s is %s", c.Name, c.Status.Phase)
		}
	}
	// A claim stays whose pod was just not there when the set shrank: as in Kubernetes, it is the pod that takes it along.
	if want := w.git.sets.Replicas + 2; claims < want || len(volumes) != claims {
		w.t.Errorf("there are %d claims and %d volumes, there should be at least %d", claims, len(volumes), want)
	}
}

func (w *sim) restSets(s *store.Snapshot) {
	want := map[string]int{"log": 1, "old": 1, "db": w.git.sets.Replicas + 1}
	for p := range store.List[*corev1.Pod](s, store.InNamespace(metav1.NamespaceDefault)) {
		app := p.Labels["app"]
		if _, ours := want[app]; !ours {
			continue
		}
		want[app]--
		if got := p.Spec.Containers[0].Image; got != w.git.sets.image() && app != "old" { // a ReplicationController renews nothing
			w.t.Errorf("pod %s is of %s, not of %s", p.Name, got, w.git.sets.image())
		}
	}
	for app, n := range want {
		if n != 0 {
			w.t.Errorf("%d pods of %s are missing", n, app)
		}
	}
	if n := s.Len(schema.GroupKind{Group: "apps", Kind: "ControllerRevision"}); n > 8 {
		w.t.Errorf("%d revisions are kept, eight should be the most", n)
	}
}
