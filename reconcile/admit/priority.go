package admit

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// priority gives a new pod what its class is worth, and one that is updated what it was worth before.
func priority(s *store.Snapshot, r *Request) error {
	p := r.pod()
	if p == nil {
		return nil
	}
	if old, ok := r.Old.(*corev1.Pod); ok && r.Operation == Update {
		if p.Spec.Priority == nil {
			p.Spec.Priority = old.Spec.Priority
		}
		if p.Spec.PreemptionPolicy == nil {
			p.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
		}
	}
	if r.Operation != Create {
		return nil
	}
	class, ok := classOf(s, p.Spec.PriorityClassName)
	if !ok {
		return r.forbidf("no PriorityClass with name %v was found", p.Spec.PriorityClassName)
	}
	if own := p.Spec.Priority; own != nil && *own != class.Value {
		return r.forbidf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *own, class.Value)
	}
	if own := p.Spec.PreemptionPolicy; own != nil && class.PreemptionPolicy != nil && *own != *class.PreemptionPolicy {
		return r.forbidf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *own, *class.PreemptionPolicy)
	}
	value := class.Value
	p.Spec.PriorityClassName, p.Spec.Priority = class.Name, &value
	if class.PreemptionPolicy != nil {
		policy := *class.PreemptionPolicy
		p.Spec.PreemptionPolicy = &policy
	}
	return nil
}

// classOf is the class of that name; of pods that name none, the default one, or what is worth nothing. The classes of the
// system are there even before their objects.
func classOf(s *store.Snapshot, name string) (*schedulingv1.PriorityClass, bool) {
	stored := has[*schedulingv1.PriorityClass](s)
	if name == "" {
		if class := defaultClass(s, stored, ""); class != nil {
			return class, true
		}
		return &schedulingv1.PriorityClass{}, true
	}
	if stored {
		if class, ok := store.Get[*schedulingv1.PriorityClass](s, "", name); ok {
			return class, true
		}
	}
	value, ok := scheme.Priority(name)
	class := &schedulingv1.PriorityClass{Value: value}
	class.Name = name
	return class, ok
}

// defaultClass is the default class, the least of several; nil if there is none but that of the name besides.
func defaultClass(s *store.Snapshot, stored bool, besides string) *schedulingv1.PriorityClass {
	if !stored {
		return nil
	}
	var found *schedulingv1.PriorityClass
	for class := range store.List[*schedulingv1.PriorityClass](s) {
		if class.GlobalDefault && class.Name != besides && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found
}

// priorityClass allows one default class.
func priorityClass(s *store.Snapshot, r *Request) error {
	class, ok := r.Object.(*schedulingv1.PriorityClass)
	if !ok || r.Subresource != "" || !class.GlobalDefault || r.Operation != Create && r.Operation != Update {
		return nil
	}
	if other := defaultClass(s, true, class.Name); other != nil {
		return r.forbidf("PriorityClass %v is already marked as default. Only one default can exist", other.Name)
	}
	return nil
}
