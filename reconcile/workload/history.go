package workload

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var revisionKind = schema.GroupKind{Group: "apps", Kind: "ControllerRevision"}

// A history is the revisions of the template of a DaemonSet or StatefulSet, the oldest first.
type history struct {
	owner     store.Object
	kind      schema.GroupVersionKind
	revisions []*appsv1.ControllerRevision
}

// gatherHistory finds the revisions of owner, and adopts and releases as their labels say.
func gatherHistory(p *control.Plan, s *store.Snapshot, owner store.Object, kind schema.GroupVersionKind, selector labels.Selector) *history {
	f := familyOf[*appsv1.ControllerRevision](s, owner, selector)
	takeIn(p, f, owner, kind)
	h := &history{owner: owner, kind: kind, revisions: slices.DeleteFunc(f.kept, func(r *appsv1.ControllerRevision) bool { return r.DeletionTimestamp != nil })}
	h.sort()
	return h
}

func (h *history) sort() {
	slices.SortStableFunc(h.revisions, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
}

func (h *history) named(name string) *appsv1.ControllerRevision {
	for _, r := range h.revisions {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// ensure returns the revision that holds template, and is the newest by then. *collisions counts names that were taken.
func (h *history) ensure(p *control.Plan, s *store.Snapshot, t *corev1.PodTemplateSpec, hashLabel string, collisions **int32) *appsv1.ControllerRevision {
	data := revisionData(t)
	next := int64(1)
	for _, r := range h.revisions {
		next = max(next, r.Revision+1)
	}
	for i := len(h.revisions) - 1; i >= 0; i-- {
		r := h.revisions[i]
		if !sameData(r.Data.Raw, data) {
			continue
		}
		if i < len(h.revisions)-1 {
			c := r.DeepCopy()
			c.Revision = next
			p.Update(c, "its template is wanted again")
			h.revisions[i] = c
			h.sort()
			return c
		}
		return r
	}
	hash := dataHash(data, *collisions)
	name := h.owner.GetName() + "-" + hash
	for {
		if _, taken := store.Get[*appsv1.ControllerRevision](s, h.owner.GetNamespace(), name); !taken {
			break
		}
		n := int32(1)
		if *collisions != nil {
			n = **collisions + 1
		}
		*collisions = &n
		hash = dataHash(data, *collisions)
		name = h.owner.GetName() + "-" + hash
	}
	l := maps.Clone(t.Labels)
	if l == nil {
		l = map[string]string{}
	}
	l[hashLabel] = hash
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: h.owner.GetNamespace(), Labels: l, Annotations: maps.Clone(h.owner.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(h.owner, h.kind)},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: next,
	}
	p.Create(r, "the template is new")
	h.revisions = append(h.revisions, r)
	return r
}

// forget deletes the oldest revisions that nothing needs, beyond limit.
func (h *history) forget(p *control.Plan, limit *int32, needed func(*appsv1.ControllerRevision) bool) {
	if limit == nil {
		return
	}
	idle := slices.DeleteFunc(slices.Clone(h.revisions), needed)
	for _, r := range idle[:max(len(idle)-int(*limit), 0)] {
		p.Delete(r, "older than the revision history limit")
	}
}

// revisionData is the patch that makes the owner's template what t is: what kubectl rollout undo sends.
func revisionData(t *corev1.PodTemplateSpec) []byte {
	fail := func(err error) {
		if err != nil {
			panic(fmt.Sprintf("encode a pod template: %v", err)) // it came out of a decoder
		}
	}
	b, err := json.Marshal(t)
	fail(err)
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	fail(d.Decode(&fields))
	fields["$patch"] = "replace"
	b, err = json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
	fail(err)
	return b
}

// templateIn is the template that a revision holds.
func templateIn(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var holder struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &holder); err != nil {
		return nil, fmt.Errorf("read the template in ControllerRevision %s: %w", r.Name, err)
	}
	return &holder.Spec.Template, nil
}

func sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func dataHash(data []byte, collisions *int32) string {
	h := fnv.New32a()
	h.Write(data)
	if collisions != nil {
		fmt.Fprint(h, *collisions)
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}
