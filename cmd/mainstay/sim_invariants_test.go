package main

import (
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/dataplane/hostport"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A simInvariant is a promise of the cluster, and when it is looked at: after each transaction, after each step of a part,
// before a call of the runtime, before the clock moves, or at rest, when nothing has failed for long enough.
type simInvariant struct {
	says        string
	transaction func(c *simCheck, after *store.Snapshot, d store.Delta)
	step        func(*simCheck)
	call        func(*simCheck, runtimetest.Call)
	clock       func(*simCheck)
	rest        func(*sim, *store.Snapshot)
}

// simInvariants are all that must hold, whatever fails. That everything converges is said by settle, which waits for it; that
// what was written is kept, and revisions have no gap, by the ledger.
func simInvariants() []simInvariant {
	return []simInvariant{
		{says: "no node has more pods, or is asked for more, than it can hold", transaction: (*simCheck).capacity},
		{says: "no two pods have one address", transaction: (*simCheck).addresses},
		{says: "no two pods of a node have one port of it", transaction: (*simCheck).hostPorts},
		{says: "a rollout keeps within its surge, and never goes below what may be unavailable", transaction: (*simCheck).rollouts},
		{says: "a Job has no more active pods than it may, and all of its completions when it is complete", transaction: (*simCheck).jobs},
		{says: "an autoscaler keeps between its smallest and its largest size", transaction: (*simCheck).sizes},
		{says: "of each container one run runs at a time", step: (*simCheck).runsOnce},
		{says: "nobody is led to a pod that is told to end", call: (*simCheck).toldToEnd},
		{says: "no service leads for a minute to where nobody is", clock: (*simCheck).astray},
		{says: "at rest, there are the Deployments of the last commit and their pods", rest: (*sim).restDeployments},
		{says: "no pod of a StatefulSet is there twice, and in order none is made before those before it are ready", transaction: (*simCheck).inOrder},
		{says: "at rest, there are the sets of the last commit and their pods", rest: (*sim).restSets},
		{says: "at rest, each claim has its volume, and each volume its folder", rest: (*sim).restFolders},
		{says: "at rest, nothing is left whose owner is gone", rest: (*sim).restOwners},
		{says: "at rest, the machine has what the store says, and no more", rest: (*sim).restNode},
		{says: "at rest, services lead to all their pods and nowhere else", rest: (*sim).restServices},
		{says: "at rest, nothing is left of what was made and deleted by hand", rest: (*sim).restErrands},
		{says: "at rest, Endpoints say what EndpointSlices say, and addresses are whose they say", rest: (*sim).restEndpoints},
		{says: "at rest, the ports of the machine lead to the pods that ask for them", rest: (*sim).restHostPorts},
		{says: "at rest, each Secret that asks for a token has one", rest: (*sim).restTokens},
		{says: "at rest, the same documents once more change nothing", rest: (*sim).restPlan},
		{says: "at rest, a minute costs no more than the node's lease", rest: (*sim).restQuiet},
	}
}

// hold runs a check, and says which promise it was if it is broken.
func (w *sim) hold(i simInvariant, check func()) {
	w.t.Helper()
	before := w.t.Failed()
	check()
	if !before && w.t.Failed() {
		w.t.Errorf("broken: %s", i.says)
	}
}

func (c *simCheck) capacity(after *store.Snapshot, d store.Delta) {
	if !touchesPods(d) {
		return
	}
	for _, n := range schedule.NewView(after).Nodes() {
		for name, amount := range n.Requested {
			if amount > n.Allocatable[name] {
				c.t.Errorf("node %s: %d of %s are requested, there are %d", n.Node.Name, amount, name, n.Allocatable[name])
			}
		}
		if most := n.Allocatable[corev1.ResourcePods]; int64(len(n.Pods)) > most {
			c.t.Errorf("node %s has %d pods, %d at most", n.Node.Name, len(n.Pods), most)
		}
	}
}

func (c *simCheck) addresses(after *store.Snapshot, d store.Delta) {
	if !touchesPods(d) {
		return
	}
	has := map[string]string{}
	for p := range store.List[*corev1.Pod](after, store.Active) {
		if other, taken := has[p.Status.PodIP]; taken && p.Status.PodIP != "" && p.DeletionTimestamp == nil {
			c.t.Errorf("pods %s and %s both have %s", p.Name, other, p.Status.PodIP)
		}
		if p.DeletionTimestamp == nil {
			has[p.Status.PodIP] = p.Name
		}
	}
	machine := map[netip.Addr]bool{}
	for uid, a := range c.net.addresses {
		if machine[a] {
			c.t.Errorf("pod %s has %s, and it is not the only one", uid, a)
		}
		machine[a] = true
	}
}

func (c *simCheck) hostPorts(after *store.Snapshot, d store.Delta) {
	if !touchesPods(d) {
		return
	}
	type port struct {
		node   string
		number int32
	}
	has := map[port]string{}
	for p := range store.List[*corev1.Pod](after) {
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, cp := range p.Spec.Containers[0].Ports {
			at := port{p.Spec.NodeName, cp.HostPort}
			if other, taken := has[at]; taken && cp.HostPort != 0 {
				c.t.Errorf("pods %s and %s both have port %d of %s", p.Name, other, cp.HostPort, p.Spec.NodeName)
			}
			has[at] = p.Name
		}
	}
}

func (c *simCheck) rollouts(after *store.Snapshot, d store.Delta) {
	if d.Why != "controllers" || maintained(c.life.planned) || maintained(after) {
		return // who takes a node out of service has all its pods go, whatever a Deployment may lack
	}
	for dep := range store.List[*appsv1.Deployment](c.life.planned) {
		c.rollout(dep, c.life.planned, after)
	}
}

func touchesPods(d store.Delta) bool {
	for _, ch := range d.Changes {
		if _, is := ch.Object().(*corev1.Pod); is {
			return true
		}
	}
	return false
}

func (c *simCheck) runsOnce() {
	for _, uid := range c.touched {
		c.oneRuns(uid)
	}
	c.touched = nil
}

func (c *simCheck) toldToEnd(call runtimetest.Call) {
	if call.Verb == "Signal" {
		c.signal(call.ID)
	}
}

func (w *sim) restHostPorts(s *store.Snapshot) {
	want := map[service.Frontend]netip.AddrPort{}
	for _, c := range hostport.Compile(s, simNode) {
		want[c.Key] = netip.AddrPortFrom(w.net.addresses[c.Pod.UID], c.Value.Port())
	}
	asked := 0
	for _, a := range w.git.apps {
		if a.HostPort > 0 {
			asked += a.Replicas
		}
	}
	if len(want) != asked {
		w.t.Errorf("%d ports of the machine are asked for by pods, %d by the last commit", len(want), asked)
	}
	for _, r := range w.ports.rows {
		if want[r.Key] != r.Value {
			w.t.Errorf("%s leads to %s, not to %s", r.Key, r.Value, want[r.Key])
		}
		delete(want, r.Key)
	}
	for port := range want {
		w.t.Errorf("%s leads nowhere", port)
	}
}
