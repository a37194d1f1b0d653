package plugin

import (
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/control/controltest"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

// Two nodes with two cores and a gigabyte each; one has an ssd, and a pod that takes 1500m and port 80.
const twoNodes = `
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {disk: ssd, kubernetes.io/hostname: n1}}
status: {allocatable: {cpu: "2", memory: 1Gi, pods: "3", example.com/gpu: "1"}}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {disk: hdd, kubernetes.io/hostname: n2}}
status: {allocatable: {cpu: "2", memory: 1Gi, pods: "3"}}
---
apiVersion: v1
kind: Pod
metadata: {name: busy, namespace: default}
spec:
  nodeName: n1
  containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 80}], resources: {requests: {cpu: 1500m, memory: 100Mi}}}]
`

func TestWhereAPodGoes(t *testing.T) {
	for name, tt := range map[string]struct{ nodes, pod, want, why string }{
		"to the node with more left": {pod: `{containers: [{name: c, image: i, resources: {requests: {cpu: 100m}}}]}`, want: "n2"},
		"nowhere if no node has that many cores": {pod: `{containers: [{name: c, image: i, resources: {requests: {cpu: "3"}}}]}`,
			why: "0/2 nodes are available: 2 Insufficient cpu."},
		"only where the cores are left": {pod: `{nodeSelector: {disk: ssd}, containers: [{name: c, image: i, resources: {requests: {cpu: 600m}}}]}`,
			why: "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector."},
		"to the node that the selector names":  {pod: `{nodeSelector: {disk: ssd}, containers: [{name: c, image: i}]}`, want: "n1"},
		"to the node that has such a resource": {pod: `{containers: [{name: c, image: i, resources: {requests: {example.com/gpu: "1"}, limits: {example.com/gpu: "1"}}}]}`, want: "n1"},
		"to the node with the port free":       {pod: `{containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 80}]}]}`, want: "n2"},
		"not to where the port is taken": {pod: `{nodeSelector: {disk: ssd}, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 80}]}]}`,
			why: "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector."},
		"with another protocol to where the port is taken": {pod: `{nodeSelector: {disk: ssd}, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 80, protocol: UDP}]}]}`, want: "n1"},
		"not to where a host address meets the port of all addresses": {pod: `{nodeSelector: {disk: ssd}, containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 80, hostIP: 127.0.0.1}]}]}`,
			why: "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector."},
		"not to where the port is taken if it is on the host's network": {pod: `{nodeSelector: {disk: ssd}, hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}`,
			why: "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector."},
		"not to where the port of its sidecar is taken": {pod: `{nodeSelector: {disk: ssd}, initContainers: [{name: s, image: i, restartPolicy: Always, ports: [{containerPort: 1, hostPort: 80}]}], containers: [{name: c, image: i}]}`,
			why: "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector."},
		"to the node that a required affinity allows": {pod: `{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: NotIn, values: [hdd]}]}]}}},
			containers: [{name: c, image: i}]}`, want: "n1"},
		"to the node that is preferred, although it has less left": {pod: `{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {matchExpressions: [{key: disk, operator: In, values: [ssd]}]}}]}},
			containers: [{name: c, image: i}]}`, want: "n1"},
		"not to a node that is cordoned": {nodes: `
---
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {unschedulable: true}
status: {allocatable: {cpu: "16", memory: 64Gi, pods: "110"}}
`, pod: `{containers: [{name: c, image: i, resources: {requests: {cpu: "8"}}}]}`,
			why: "0/3 nodes are available: 2 Insufficient cpu, 1 node(s) were unschedulable."},
		"not to a node with a taint": {nodes: `
---
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {taints: [{key: team, value: red, effect: NoSchedule}]}
status: {allocatable: {cpu: "16", memory: 64Gi, pods: "110"}}
`, pod: `{containers: [{name: c, image: i, resources: {requests: {cpu: "8"}}}]}`,
			why: "0/3 nodes are available: 2 Insufficient cpu, 1 node(s) had untolerated taint {team: red}."},
		"to a node whose taint it tolerates": {nodes: `
---
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {taints: [{key: team, value: red, effect: NoSchedule}]}
status: {allocatable: {cpu: "16", memory: 64Gi, pods: "110"}}
`, pod: `{tolerations: [{key: team, operator: Equal, value: red, effect: NoSchedule}], containers: [{name: c, image: i, resources: {requests: {cpu: "8"}}}]}`, want: "n3"},
		"rather not to a node that would not like it": {nodes: `
---
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {taints: [{key: old, effect: PreferNoSchedule}]}
status: {allocatable: {cpu: "2", memory: 1Gi, pods: "110"}}
`, pod: `{containers: [{name: c, image: i, resources: {requests: {cpu: 100m}}}]}`, want: "n2"},
		"nowhere if the pods are as many as a node takes": {nodes: `
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: default}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: default}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
`, pod: `{nodeSelector: {disk: hdd}, containers: [{name: c, image: i}]}`,
			why: "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match Pod's node affinity/selector."},
		"room that a finished pod had is free": {nodes: `
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: default}
spec: {nodeName: n2, containers: [{name: c, image: i, resources: {requests: {cpu: "2"}}}]}
status: {phase: Succeeded}
`, pod: `{nodeSelector: {disk: hdd}, containers: [{name: c, image: i, resources: {requests: {cpu: "2"}}}]}`, want: "n2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := scheme.New(scheme.Options{})
			st := controltest.Store(t, s, nil, controltest.Objects(t, s, twoNodes+tt.nodes)...)
			pod := controltest.Objects(t, s, "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default}\nspec: "+tt.pod)[0].(*corev1.Pod)
			d := schedule.Decide(schedule.NewView(st.Snapshot()), pod, Default(), rand.New(rand.NewPCG(1, 2)))
			if d.Node != tt.want {
				t.Errorf("it goes to %q, want %q: %s", d.Node, tt.want, d.Explain())
			}
			if tt.why != "" && d.Explain() != tt.why {
				t.Errorf("explained as\n  %s\nwant\n  %s", d.Explain(), tt.why)
			}
		})
	}
}

func TestWithoutNodesThereIsAReasonToo(t *testing.T) {
	s := scheme.New(scheme.Options{})
	st := controltest.Store(t, s, nil)
	d := schedule.Decide(schedule.NewView(st.Snapshot()), &corev1.Pod{}, Default(), rand.New(rand.NewPCG(1, 2)))
	if d.Explain() != "no nodes available to schedule pods" {
		t.Error(d.Explain())
	}
}
