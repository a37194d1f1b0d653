package cgroup

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Pods are the groups of a node's pods, under one folder of its own. Guaranteed pods stand in that folder, each with its
// shares of the CPU; Burstable and BestEffort pods stand in a tier of their own. The Burstable tier weighs what its pods
// weigh together, the BestEffort tier next to nothing.
type Pods struct {
	tree *Tree
	root string

	mu     sync.Mutex
	shares map[string]map[string]int64 // of the pods in each tier, by uid; of a tier once it was looked at
}

const (
	burstable  = "burstable"
	bestEffort = "besteffort"
)

// NewPods keeps the groups of pods under root, such as "/mainstay-a/pods".
func (t *Tree) NewPods(root string) *Pods {
	return &Pods{tree: t, root: root, shares: map[string]map[string]int64{}}
}

// Root is the group above all pods.
func (p *Pods) Root() string { return p.root }

// Path is where the group of a pod stands. qos is its class as Kubernetes names it: Guaranteed, Burstable or BestEffort;
// any other is taken as Guaranteed.
func (p *Pods) Path(qos, uid string) string {
	return path.Join(p.root, tierOf(qos), "pod"+uid)
}

func tierOf(qos string) string {
	if tier := strings.ToLower(qos); tier == burstable || tier == bestEffort {
		return tier
	}
	return ""
}

// Make makes the group of a pod with its limits and returns its path. One that is there gets the limits anew.
func (p *Pods) Make(qos, uid string, l Limits) (string, error) {
	group := p.Path(qos, uid)
	if err := p.tree.Make(group); err != nil {
		return "", err
	}
	if err := p.tree.Limit(group, l); err != nil {
		return "", err
	}
	return group, p.weigh(tierOf(qos), uid, orDefault(l.CPUShares, defaultShares))
}

// Remove ends what is left in a pod's group, wherever it stands, and removes it.
func (p *Pods) Remove(ctx context.Context, uid string) error {
	for _, tier := range []string{"", burstable, bestEffort} {
		group := path.Join(p.root, tier, "pod"+uid)
		if !p.tree.exists(group) {
			continue
		}
		if err := p.tree.Remove(ctx, group); err != nil {
			return err
		}
		if err := p.weigh(tier, uid, 0); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) exists(group string) bool {
	for _, h := range t.hierarchies {
		if _, err := os.Stat(h.path(group)); err == nil {
			return true
		}
	}
	return false
}

// weigh notes the shares of a pod (0: it is gone) and sets the weight of its tier.
func (p *Pods) weigh(tier, uid string, shares int64) error {
	h, ok := p.tree.of("cpu")
	if tier == "" || !ok {
		return nil
	}
	group := path.Join(p.root, tier)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shares[tier] == nil {
		p.shares[tier] = h.sharesUnder(group)
	}
	p.shares[tier][uid] = shares
	if shares == 0 {
		delete(p.shares[tier], uid)
	}
	sum := int64(leastShares)
	if tier == burstable {
		for _, n := range p.shares[tier] {
			sum += n
		}
	}
	for _, s := range (Limits{CPUShares: min(sum, mostShares)}).settings(h.unified)[:1] {
		if err := write(h.path(group, s.file), s.value); err != nil {
			return fmt.Errorf("weigh cgroup %s: %w", group, err)
		}
	}
	return nil
}

// sharesUnder reads what an earlier process set: the shares of each pod in a tier, by uid.
func (h hierarchy) sharesUnder(tier string) map[string]int64 {
	out := map[string]int64{}
	entries, _ := os.ReadDir(h.path(tier)) // none if it is not there
	for _, e := range entries {
		uid, ok := strings.CutPrefix(e.Name(), "pod")
		if !ok {
			continue
		}
		if h.unified {
			out[uid] = shares(number(h.path(tier, e.Name(), "cpu.weight")))
		} else {
			out[uid] = number(h.path(tier, e.Name(), "cpu.shares"))
		}
	}
	return out
}

// number reads a file that holds one; 0 if it has vanished.
func number(path string) int64 {
	text, _ := read(path)
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
