package admit

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/warning"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Plugin is the chain as k8s.io/apiserver calls it. What must hold at the moment of the write is asked for again inside the
// transaction: it is here so that a dry run is refused too, and so that the first error is the one that Kubernetes would
// give.
type Plugin struct {
	Chain    *Chain
	Policies *Policies // nil: there are none
	Reader   store.Reader
}

var (
	_ admission.MutationInterface   = Plugin{}
	_ admission.ValidationInterface = Plugin{}
)

// Handles implements admission.Interface.
func (Plugin) Handles(admission.Operation) bool { return true }

// Admit implements admission.MutationInterface. If a policy or a webhook has changed the object, all are asked once more
// about what it has become.
func (p Plugin) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := p.admit(ctx, a, o); err != nil {
		return err
	}
	again := a.GetReinvocationContext()
	if !again.ShouldReinvoke() {
		return nil
	}
	again.SetIsReinvoke()
	return p.admit(ctx, a, o)
}

func (p Plugin) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := p.mutate(ctx, a); err != nil {
		return err
	}
	return p.Policies.Mutate(ctx, a, o)
}

func (p Plugin) mutate(ctx context.Context, a admission.Attributes) error {
	if pod, ok := a.GetObject().(*corev1.Pod); ok && a.GetOperation() == admission.Create {
		if pod.Namespace == "" {
			pod.Namespace = a.GetNamespace()
		}
		if pod.UID == "" {
			pod.UID = uuid.NewUUID()
			defer func() { pod.UID = "" }() // whoever creates it gives it its own
		}
	}
	return p.Chain.Mutate(p.Reader.Snapshot(), requestOf(ctx, a)).Err()
}

// Validate implements admission.ValidationInterface.
func (p Plugin) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := p.Chain.Validate(p.Reader.Snapshot(), requestOf(ctx, a)).Err(); err != nil {
		return err
	}
	return p.Policies.Validate(ctx, a, o)
}

func requestOf(ctx context.Context, a admission.Attributes) *Request {
	return &Request{
		Operation: Operation(a.GetOperation()), Kind: a.GetKind(), Resource: a.GetResource(), Subresource: a.GetSubresource(),
		Namespace: a.GetNamespace(), Name: a.GetName(), Object: a.GetObject(), Old: a.GetOldObject(), Options: a.GetOperationOptions(),
		User: a.GetUserInfo(), DryRun: a.IsDryRun(),
		Warn: func(text string) { warning.AddWarning(ctx, "", text) },
		Note: func(key, value string) { _ = a.AddAnnotation(key, value) }, // it fails only for a key that says otherwise already
	}
}
