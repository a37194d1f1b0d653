package patch

import (
	"encoding/json"
	"fmt"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Patch is the patch data of kind JSON patch, merge patch or strategic merge patch, applied to live by manager. The result
// is defaulted and has its owners in managedFields, for Kind.PrepareUpdate; it is live itself if nothing changes.
func (p *Patcher) Patch(live store.Object, how types.PatchType, data []byte, manager string, now time.Time) (store.Object, error) {
	k, err := p.kind(p.scheme.Stored.Of(live))
	if err != nil {
		return nil, err
	}
	next, err := k.patched(live, how, data)
	if err != nil {
		return nil, fmt.Errorf("patch %s %s: %w", k.Kind.Kind, live.GetName(), err)
	}
	return p.Update(live, next, manager, now)
}

func (k *kind) patched(live store.Object, how types.PatchType, data []byte) (store.Object, error) {
	was, err := json.Marshal(withoutOwners(live))
	if err != nil {
		return nil, err
	}
	var is []byte
	switch how {
	case types.JSONPatchType:
		var ops jsonpatch.Patch
		if ops, err = jsonpatch.DecodePatch(data); err == nil {
			is, err = ops.Apply(was)
		}
	case types.MergePatchType:
		is, err = jsonpatch.MergePatch(was, data)
	case types.StrategicMergePatchType:
		is, err = strategicpatch.StrategicMergePatch(was, data, k.New())
	default:
		err = fmt.Errorf("there is no patch of type %q here", how)
	}
	if err != nil {
		return nil, err
	}
	o := k.New()
	if err := json.Unmarshal(is, o); err != nil {
		return nil, err
	}
	return o, nil
}

// Update makes manager the owner of what it changed: next is what it made of a copy of live, and is changed. The result is
// next, defaulted, or live if they are the same.
func (p *Patcher) Update(live, next store.Object, manager string, now time.Time) (store.Object, error) {
	k, err := p.kind(p.scheme.Stored.Of(live))
	if err != nil {
		return nil, err
	}
	k.Default(next)
	next.SetManagedFields(live.GetManagedFields())
	next.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
	if equality.Semantic.DeepEqual(next, live) {
		return live, nil
	}
	o, err := k.manager.Update(live, next, manager)
	if err != nil {
		return nil, fmt.Errorf("update %s %s: %w", k.Kind.Kind, live.GetName(), err)
	}
	next = o.(store.Object)
	settle(next, live, metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: k.GroupVersion().String(),
	}, now)
	return next, nil
}
