package scheme

import (
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// extensionKinds are the kinds by which users extend the API.
func extensionKinds() []*Kind {
	group := list("api-extensions")
	return []*Kind{
		typed(Kind{GroupVersionKind: apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"), Plural: "customresourcedefinitions",
			Short: list("crd", "crds"), Categories: group, Status: true}, rules[*apiextensionsv1.CustomResourceDefinition]{
			defaults: defaults.CustomResourceDefinition, generation: true, create: createDefinition, change: storeDefinition, ending: endDefinition,
			validate: validate.CustomResourceDefinition, update: validate.CustomResourceDefinitionUpdate, status: validate.CustomResourceDefinitionStatusUpdate,
			table: columns.CustomResourceDefinitions(),
		}),
		typed(Kind{GroupVersionKind: apiregistrationv1.SchemeGroupVersion.WithKind("APIService"), Plural: "apiservices",
			Categories: group, Status: true}, rules[*apiregistrationv1.APIService]{
			defaults: defaults.APIService, create: createAPIService,
			validate: validate.APIService, update: validate.APIServiceUpdate, status: validate.APIServiceStatusUpdate,
			table: columns.APIServices(),
		}),
	}
}

// createDefinition notes the version in which objects will be stored.
func createDefinition(d *apiextensionsv1.CustomResourceDefinition, _ time.Time) {
	d.Status.StoredVersions = nil
	storeDefinition(d, nil)
}

// storeDefinition adds the version in which objects are stored from now on to those in which some may be.
func storeDefinition(d, _ *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
		}
	}
}

// endDefinition holds a definition back from deletion until its objects are gone.
func endDefinition(d *apiextensionsv1.CustomResourceDefinition, now time.Time) {
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	c := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: "InstanceDeletionPending", LastTransitionTime: stamp(now),
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}
	d.Status.Conditions = append(slices.DeleteFunc(d.Status.Conditions, func(o apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return o.Type == c.Type
	}), c)
}

// createAPIService marks what this server serves itself as available.
func createAPIService(s *apiregistrationv1.APIService, now time.Time) {
	if s.Spec.Service != nil {
		return
	}
	s.Status.Conditions = []apiregistrationv1.APIServiceCondition{{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Local", LastTransitionTime: metav1.NewTime(stamp(now).Time),
		Message: "Local APIServices are always available",
	}}
}
