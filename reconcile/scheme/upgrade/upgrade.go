// Package upgrade rewrites manifests in versions that Kubernetes has removed as the version that took their place. Its
// functions are pure, work on what the user wrote, and keep what it meant: where a default has changed, the old one is
// written out.
package upgrade

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A rewrite changes an object, which is its own, but for its apiVersion and kind. The error tells what has no counterpart.
type rewrite func(object fields) error

// A step leads from a removed version to the one that took its place.
type step struct {
	to      schema.GroupVersion
	rewrite rewrite // nil: nothing else changes
}

// Known tells whether gvk is of a removed version that Object knows: it may still refuse it.
func Known(gvk schema.GroupVersionKind) bool {
	_, ok := steps()[gvk]
	_, refused := gone()[gvk.GroupKind()]
	return ok || refused
}

// Object is object in the version that took the place of its own, which is told too. object is not changed. The error says
// what cannot be carried over and what to write instead; it is the zero version and a nil object if there is nothing to
// upgrade.
func Object(object map[string]any) (map[string]any, schema.GroupVersion, error) {
	f := fields(object)
	gvk := schema.FromAPIVersionAndKind(f.text("apiVersion"), f.text("kind"))
	if instead, ok := gone()[gvk.GroupKind()]; ok {
		return nil, schema.GroupVersion{}, fmt.Errorf("kind %s (%s) was removed from Kubernetes: %s", gvk.Kind, gvk.GroupVersion(), instead)
	}
	s, ok := steps()[gvk]
	if !ok {
		return nil, schema.GroupVersion{}, nil
	}
	c := fields(runtime.DeepCopyJSON(object))
	c["apiVersion"] = s.to.String()
	if s.rewrite != nil {
		if err := s.rewrite(c); err != nil {
			return nil, schema.GroupVersion{}, fmt.Errorf("%s of %s cannot be read as %s: %w", gvk.Kind, gvk.GroupVersion(), s.to, err)
		}
	}
	return c, s.to, nil
}

// gone are the kinds that nothing took the place of, and what to do instead.
func gone() map[schema.GroupKind]string {
	psp := "write Pod Security labels on namespaces instead (pod-security.kubernetes.io/enforce: baseline)"
	return map[schema.GroupKind]string{
		{Group: "policy", Kind: "PodSecurityPolicy"}:              psp,
		{Group: "extensions", Kind: "PodSecurityPolicy"}:          psp,
		{Group: "settings.k8s.io", Kind: "PodPreset"}:             "write a mutating admission policy or webhook instead",
		{Group: "auditregistration.k8s.io", Kind: "AuditSink"}:    "audit is an option of the server instead",
		{Group: "extensions", Kind: "ThirdPartyResource"}:         "write a CustomResourceDefinition (apiextensions.k8s.io/v1) instead",
		{Group: "extensions", Kind: "ReplicationControllerDummy"}: "it was never of use",
	}
}

// steps are all removed versions of kinds that still exist.
func steps() map[schema.GroupVersionKind]step {
	all := map[schema.GroupVersionKind]step{}
	add := func(r rewrite, to, from string, kinds ...string) {
		old, err := schema.ParseGroupVersion(from)
		current, err2 := schema.ParseGroupVersion(to)
		if err != nil || err2 != nil {
			panic("upgrade: bad version " + from + " or " + to) // a mistake in this table
		}
		for _, kind := range kinds {
			all[old.WithKind(kind)] = step{current, r}
		}
	}
	workloads(add)
	for _, old := range []string{"extensions/v1beta1", "networking.k8s.io/v1beta1"} {
		add(ingress, "networking.k8s.io/v1", old, "Ingress")
	}
	add(nil, "networking.k8s.io/v1", "extensions/v1beta1", "NetworkPolicy")
	add(nil, "networking.k8s.io/v1", "networking.k8s.io/v1beta1", "IngressClass", "IPAddress", "ServiceCIDR")
	add(disruptionBudget, "policy/v1", "policy/v1beta1", "PodDisruptionBudget")
	add(autoscaler, "autoscaling/v2", "autoscaling/v2beta1", "HorizontalPodAutoscaler")
	add(nil, "autoscaling/v2", "autoscaling/v2beta2", "HorizontalPodAutoscaler")
	for _, old := range []string{"v1alpha1", "v1beta1"} {
		const rbac = "rbac.authorization.k8s.io/"
		add(nil, rbac+"v1", rbac+old, "Role", "ClusterRole")
		add(binding, rbac+"v1", rbac+old, "RoleBinding", "ClusterRoleBinding")
		add(nil, "scheduling.k8s.io/v1", "scheduling.k8s.io/"+old, "PriorityClass")
		add(nil, "storage.k8s.io/v1", "storage.k8s.io/"+old, "StorageClass", "CSIDriver", "CSINode", "CSIStorageCapacity", "VolumeAttachment", "VolumeAttributesClass")
		add(runtimeClass, "node.k8s.io/v1", "node.k8s.io/"+old, "RuntimeClass")
		add(nil, "admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/"+old,
			"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
	}
	add(nil, "coordination.k8s.io/v1", "coordination.k8s.io/v1beta1", "Lease")
	add(endpointSlice, "discovery.k8s.io/v1", "discovery.k8s.io/v1beta1", "EndpointSlice")
	add(nil, "events.k8s.io/v1", "events.k8s.io/v1beta1", "Event")
	add(signingRequest, "certificates.k8s.io/v1", "certificates.k8s.io/v1beta1", "CertificateSigningRequest")
	add(webhooks, "admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
	add(customKind, "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1", "CustomResourceDefinition")
	add(nil, "apiregistration.k8s.io/v1", "apiregistration.k8s.io/v1beta1", "APIService")
	for _, old := range []string{"v1alpha1", "v1beta1", "v1beta2", "v1beta3"} {
		const flow = "flowcontrol.apiserver.k8s.io/"
		add(nil, flow+"v1", flow+old, "FlowSchema")
		add(priorityLevel, flow+"v1", flow+old, "PriorityLevelConfiguration")
	}
	return all
}

// fields are those of an object or a part of it. What is of another type than it should be is as if it were not there: whoever
// checks the result will say so.
type fields map[string]any

func (f fields) text(name string) string {
	s, _ := f[name].(string)
	return s
}

// in are the fields below name, nil if there are none.
func (f fields) in(names ...string) fields {
	for _, name := range names {
		m, _ := f[name].(map[string]any)
		f = m
	}
	return f
}

// each are the items of the list below name that have fields.
func (f fields) each(name string) []fields {
	list, _ := f[name].([]any)
	var all []fields
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// make is in, but makes what is not there.
func (f fields) make(name string) fields {
	if m := f.in(name); m != nil {
		return m
	}
	m := map[string]any{}
	f[name] = m
	return m
}

// unset gives a field a value if it has none.
func (f fields) unset(name string, value any) {
	if f[name] == nil {
		f[name] = value
	}
}

// move gives the value of a field to another one.
func (f fields) move(name string, to fields, other string) {
	if v, ok := f[name]; ok {
		delete(f, name)
		to[other] = v
	}
}
