package validate

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	definitions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	services "k8s.io/kube-aggregator/pkg/apis/apiregistration/validation"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
)

// The validation of these kinds is Kubernetes' own, which works on a form of its own: so objects are converted to it.

// CustomResourceDefinition validates a definition, its schemas and rules included.
func CustomResourceDefinition(d *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	in, err := internalDefinition(d)
	if err != nil {
		return field.ErrorList{err}
	}
	errs := definitions.ValidateCustomResourceDefinition(context.Background(), in)
	if d.Spec.Group == v1alpha1.GroupVersion.Group {
		errs = append(errs, field.Forbidden(root("spec").Child("group"), "the group is Mainstay's own"))
	}
	return errs
}

// CustomResourceDefinitionUpdate keeps what objects that are stored depend on.
func CustomResourceDefinitionUpdate(new, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	return changedDefinition(new, old, definitions.ValidateCustomResourceDefinitionUpdate)
}

// CustomResourceDefinitionStatusUpdate validates the names that were accepted, and the versions that are stored.
func CustomResourceDefinitionStatusUpdate(new, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	return changedDefinition(new, old, definitions.ValidateUpdateCustomResourceDefinitionStatus)
}

func changedDefinition(new, old *apiextensionsv1.CustomResourceDefinition,
	validate func(ctx context.Context, new, old *apiextensions.CustomResourceDefinition) field.ErrorList) field.ErrorList {
	is, err := internalDefinition(new)
	if err != nil {
		return field.ErrorList{err}
	}
	was, err := internalDefinition(old)
	if err != nil {
		return field.ErrorList{err}
	}
	return validate(context.Background(), is, was)
}

func internalDefinition(d *apiextensionsv1.CustomResourceDefinition) (*apiextensions.CustomResourceDefinition, *field.Error) {
	in := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.DeepCopy(), in, nil); err != nil {
		return nil, field.InternalError(root("spec"), err)
	}
	return in, nil
}

// APIService validates an APIService.
func APIService(s *apiregistrationv1.APIService) field.ErrorList {
	in, err := internalService(s)
	if err != nil {
		return field.ErrorList{err}
	}
	return services.ValidateAPIService(context.Background(), in)
}

// APIServiceUpdate validates a change of one.
func APIServiceUpdate(new, old *apiregistrationv1.APIService) field.ErrorList {
	return changedService(new, old, services.ValidateAPIServiceUpdate)
}

// APIServiceStatusUpdate validates its conditions.
func APIServiceStatusUpdate(new, old *apiregistrationv1.APIService) field.ErrorList {
	return changedService(new, old, services.ValidateAPIServiceStatusUpdate)
}

func changedService(new, old *apiregistrationv1.APIService,
	validate func(ctx context.Context, new, old *apiregistration.APIService) field.ErrorList) field.ErrorList {
	is, err := internalService(new)
	if err != nil {
		return field.ErrorList{err}
	}
	was, err := internalService(old)
	if err != nil {
		return field.ErrorList{err}
	}
	return validate(context.Background(), is, was)
}

func internalService(s *apiregistrationv1.APIService) (*apiregistration.APIService, *field.Error) {
	in := &apiregistration.APIService{}
	if err := apiregistrationv1.Convert_v1_APIService_To_apiregistration_APIService(s.DeepCopy(), in, nil); err != nil {
		return nil, field.InternalError(root("spec"), err)
	}
	return in, nil
}
