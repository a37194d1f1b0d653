package health

import (
	"cmp"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// custom is the health of an object of which only the conventions are known that Kubernetes has for all: its controller has
// seen the newest generation, is not busy (Reconciling), not stuck (Stalled), and says that it is Ready. What says nothing of
// the kind is healthy.
func custom(u *unstructured.Unstructured) Status {
	seen, ok, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration")
	if ok && err == nil && seen < u.GetGeneration() {
		return Status{State: Progressing, Cause: "its controller has not seen the newest change"}
	}
	conditions := conditionsOf(u)
	if c := conditions["Stalled"]; c.status == "True" {
		return Status{State: Degraded, Cause: c.cause(), Stuck: true}
	}
	if c := conditions["Reconciling"]; c.status == "True" {
		return Status{State: Progressing, Cause: c.cause()}
	}
	if c, ok := conditions["Ready"]; ok && c.status != "True" {
		return Status{State: Progressing, Cause: c.cause()}
	}
	return Status{State: Healthy}
}

type condition struct{ status, reason, message string }

func (c condition) cause() string { return cmp.Or(c.message, c.reason) }

// conditionsOf are the conditions in u's status, by type.
func conditionsOf(u *unstructured.Unstructured) map[string]condition {
	list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "conditions")
	items, _ := list.([]any)
	all := map[string]condition{}
	for _, item := range items {
		c, _ := item.(map[string]any)
		name, _ := c["type"].(string)
		status, _ := c["status"].(string)
		reason, _ := c["reason"].(string)
		message, _ := c["message"].(string)
		all[name] = condition{status, reason, message}
	}
	return all
}

// definition is healthy when its objects are served.
func definition(d *apiextensionsv1.CustomResourceDefinition) Status {
	st := Status{State: Progressing}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == apiextensionsv1.NamesAccepted && c.Status == apiextensionsv1.ConditionFalse:
			return Status{State: Degraded, Cause: c.Message, Stuck: true}
		case c.Type == apiextensionsv1.NonStructuralSchema && c.Status == apiextensionsv1.ConditionTrue:
			return Status{State: Degraded, Cause: c.Message, Stuck: true}
		case c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue:
			st.State = Healthy
		}
	}
	return st
}

// apiService is healthy when what it names answers.
func apiService(s *apiregistrationv1.APIService) Status {
	for _, c := range s.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if c.Status == apiregistrationv1.ConditionTrue {
			return Status{State: Healthy}
		}
		return Status{State: Progressing, Cause: fmt.Sprintf("%s: %s", c.Reason, c.Message)}
	}
	return Status{State: Progressing}
}
