package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A comparison is of one kind.
type comparison struct {
	kind   *scheme.Kind
	ours   *scheme.Scheme
	theirs *oracle
	tally  *tally
	now    time.Time
}

// all compares the hand-picked objects, and those made of them.
func (c *comparison) all(picked []map[string]any, o options) {
	h := fnv.New64a()
	h.Write([]byte(c.kind.Kind))
	m := newMutator(rand.New(rand.NewPCG(o.seed, h.Sum64())), reflect.TypeOf(c.kind.New()).Elem(), picked)
	for _, doc := range picked {
		base, err := c.typed(doc)
		if err != nil {
			c.tally.broken(fmt.Sprintf("testdata: %v", err))
			continue
		}
		c.one(base)
		for range o.changes {
			changed, err := c.typed(m.change(doc))
			if err != nil {
				continue // decoding refuses it, which is the same code for both
			}
			c.one(changed)
			c.update(changed, base)
		}
	}
}

func (c *comparison) typed(doc map[string]any) (store.Object, error) {
	o := c.kind.New()
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, o); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(c.kind.GroupVersionKind)
	if s, ok := o.(*corev1.Service); ok {
		given(s)
	}
	return o, nil
}

// given gives a service what both systems give one beside their rules.
func given(s *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	switch {
	case s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) == 0:
		s.Spec.ClusterIP = "10.43.0.99"
		fallthrough
	case len(s.Spec.ClusterIPs) == 0:
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = 30099
	}
	if len(s.Spec.IPFamilies) == 0 && s.Spec.IPFamilyPolicy == nil {
		single := corev1.IPFamilyPolicySingleStack
		s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol}, &single
	}
}

func clone(o store.Object) store.Object { return o.DeepCopyObject().(store.Object) }

// one compares what is said of a new object.
func (c *comparison) one(o store.Object) {
	a := clone(o)
	if !c.kind.Namespaced {
		a.SetNamespace("") // as the API does before it asks
	}
	c.kind.PrepareCreate(a, types.UID("11111111-1111-1111-1111-111111111111"), c.now)
	mine := texts(c.kind.Validate(a))
	yours, err := c.theirs.create(c.kind, clone(o))
	if err != nil {
		c.tally.broken(err.Error())
		return
	}
	c.tally.note("verdicts", (len(mine) == 0) == (len(yours) == 0), o, func() string { return verdicts(mine, yours) })
	if len(yours) == 0 && len(mine) == 0 {
		c.defaults(o)
		c.columns(a, o)
	}
}

// defaults compares what is filled in of an accepted object.
func (c *comparison) defaults(o store.Object) {
	a := clone(o)
	c.kind.Default(a)
	filled, err := c.theirs.filled(c.kind, clone(o))
	if err != nil {
		c.tally.broken(err.Error())
		return
	}
	c.tally.note("defaults", equal(a, filled), o, func() string { return cmp.Diff(plain(filled), plain(a)) })
}

// columns compares the tables of an accepted object.
func (c *comparison) columns(prepared, o store.Object) {
	prepared.SetCreationTimestamp(metav1.NewTime(c.now.Add(-2400 * time.Hour))) // what is printed of it is the same for hours
	header, cells, err := c.theirs.table(c.kind, clone(prepared))
	if err != nil {
		c.tally.broken(err.Error())
		return
	}
	var names []string
	for _, h := range c.kind.Columns() {
		names = append(names, fmt.Sprint(h.Name, " ", h.Type, " ", h.Priority))
	}
	mine := append(names, texted(c.kind.Cells(prepared, c.now))...)
	yours := append(header, texted(cells)...)
	c.tally.note("columns", cmp.Equal(mine, yours), o, func() string { return cmp.Diff(yours, mine) })
}

// update compares what is said of a change of an object.
func (c *comparison) update(new, old store.Object) {
	before := clone(old)
	c.kind.PrepareCreate(before, types.UID("11111111-1111-1111-1111-111111111111"), c.now)
	if before.GetName() != new.GetName() || before.GetNamespace() != new.GetNamespace() {
		return
	}
	before.SetResourceVersion("5")
	if len(c.kind.Validate(before)) > 0 {
		return
	}
	a, b := clone(new), clone(new)
	for _, o := range []store.Object{a, b} {
		o.SetResourceVersion("5")
		o.SetUID(before.GetUID())
	}
	c.kind.PrepareUpdate(a, before)
	mine := texts(c.kind.ValidateUpdate(a, before))
	yours, err := c.theirs.update(c.kind, b, clone(before))
	if err != nil {
		c.tally.broken(err.Error())
		return
	}
	c.tally.note("updates", (len(mine) == 0) == (len(yours) == 0), new, func() string { return verdicts(mine, yours) })
}

func texts[E error](errs []E) []string {
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	return all
}

func texted(cells []any) []string {
	var all []string
	for _, c := range cells {
		all = append(all, fmt.Sprint(c))
	}
	return all
}

func verdicts(mine, yours []string) string {
	if len(mine) > 0 {
		return "Mainstay refuses, Kubernetes accepts: " + strings.Join(mine, "; ")
	}
	return "Mainstay accepts, Kubernetes refuses: " + strings.Join(yours, "; ")
}

// plain is o as JSON values.
func plain(o runtime.Object) any {
	b, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err.Error()
	}
	return v
}

func equal(a, b runtime.Object) bool { return cmp.Equal(plain(a), plain(b)) }
