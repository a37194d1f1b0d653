package registry

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Authorizer answers the questions of authorization.k8s.io.
type Authorizer interface {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// AccessReviews serve the questions of authorization.k8s.io, which are answered and not kept, by their resource.
func AccessReviews(z Authorizer) map[string]rest.Storage {
	return map[string]rest.Storage{
		"subjectaccessreviews":      &accessReviews{question{"subjectaccessreview"}, z},
		"localsubjectaccessreviews": &localAccessReviews{question{"localsubjectaccessreview"}, z},
		"selfsubjectaccessreviews":  &selfAccessReviews{question{"selfsubjectaccessreview"}, z},
		"selfsubjectrulesreviews":   &rulesReviews{question{"selfsubjectrulesreview"}, z},
	}
}

// accessReviews tell what somebody may.
type accessReviews struct {
	question
	z Authorizer
}

// New implements rest.Storage.
func (*accessReviews) New() runtime.Object { return &authorizationv1.SubjectAccessReview{} }

// Create implements rest.Creater.
func (r *accessReviews) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review := o.(*authorizationv1.SubjectAccessReview)
	errs := append(checkAsked(&review.Spec), emptyMeta(review.ObjectMeta, "must be empty")...)
	if err := reviewable(ctx, "SubjectAccessReview", errs, review, validate); err != nil {
		return nil, err
	}
	review.Status = answer(ctx, r.z, &review.Spec)
	return review, nil
}

// localAccessReviews tell what somebody may in a namespace.
type localAccessReviews struct {
	question
	z Authorizer
}

// NamespaceScoped implements rest.Scoper.
func (*localAccessReviews) NamespaceScoped() bool { return true }

// New implements rest.Storage.
func (*localAccessReviews) New() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} }

// Create implements rest.Creater.
func (r *localAccessReviews) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review := o.(*authorizationv1.LocalSubjectAccessReview)
	meta := review.ObjectMeta
	meta.Namespace = ""
	errs := append(checkAsked(&review.Spec), emptyMeta(meta, "must be empty except for namespace")...)
	if a := review.Spec.ResourceAttributes; a != nil && a.Namespace != review.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if a := review.Spec.NonResourceAttributes; a != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), a, "disallowed on this kind of request"))
	}
	if err := reviewable(ctx, "LocalSubjectAccessReview", errs, review, validate); err != nil {
		return nil, err
	}
	review.Status = answer(ctx, r.z, &review.Spec)
	return review, nil
}

// selfAccessReviews tell those who ask what they may.
type selfAccessReviews struct {
	question
	z Authorizer
}

// New implements rest.Storage.
func (*selfAccessReviews) New() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }

// Create implements rest.Creater.
func (r *selfAccessReviews) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review := o.(*authorizationv1.SelfSubjectAccessReview)
	who, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	asked := &authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: review.Spec.ResourceAttributes, NonResourceAttributes: review.Spec.NonResourceAttributes,
		User: who.GetName(), Groups: who.GetGroups(), UID: who.GetUID(), Extra: map[string]authorizationv1.ExtraValue{},
	}
	for k, v := range who.GetExtra() {
		asked.Extra[k] = v
	}
	errs := append(checkAsked(asked), emptyMeta(review.ObjectMeta, "must be empty")...)
	if err := reviewable(ctx, "SelfSubjectAccessReview", errs, review, validate); err != nil {
		return nil, err
	}
	review.Status = answer(ctx, r.z, asked)
	return review, nil
}

// rulesReviews tell those who ask all that they may in a namespace.
type rulesReviews struct {
	question
	z Authorizer
}

// New implements rest.Storage.
func (*rulesReviews) New() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }

// Create implements rest.Creater.
func (r *rulesReviews) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review := o.(*authorizationv1.SelfSubjectRulesReview)
	who, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	if review.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	if err := validate(ctx, o.DeepCopyObject()); err != nil {
		return nil, err
	}
	resources, paths, incomplete, err := r.z.RulesFor(ctx, who, review.Spec.Namespace)
	status := authorizationv1.SubjectRulesReviewStatus{
		Incomplete:       incomplete,
		ResourceRules:    make([]authorizationv1.ResourceRule, len(resources)),
		NonResourceRules: make([]authorizationv1.NonResourceRule, len(paths)),
	}
	for i, r := range resources {
		status.ResourceRules[i] = authorizationv1.ResourceRule{Verbs: r.GetVerbs(), APIGroups: r.GetAPIGroups(), Resources: r.GetResources(), ResourceNames: r.GetResourceNames()}
	}
	for i, r := range paths {
		status.NonResourceRules[i] = authorizationv1.NonResourceRule{Verbs: r.GetVerbs(), NonResourceURLs: r.GetNonResourceURLs()}
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return &authorizationv1.SelfSubjectRulesReview{Status: status}, nil
}

// reviewable tells why a question cannot be answered.
func reviewable(ctx context.Context, kind string, errs field.ErrorList, o runtime.Object, validate rest.ValidateObjectFunc) error {
	if len(errs) > 0 {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
	}
	return validate(ctx, o.DeepCopyObject())
}

func emptyMeta(m metav1.ObjectMeta, message string) field.ErrorList {
	m.ManagedFields = nil
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{}, m) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, message)}
}

func checkAsked(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if (spec.ResourceAttributes == nil) == (spec.NonResourceAttributes == nil) {
		errs = append(errs, field.Invalid(path, spec.NonResourceAttributes, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(path.Child("user"), spec.User, "at least one of user or group must be specified"))
	}
	if a := spec.ResourceAttributes; a != nil {
		if s := a.FieldSelector; s != nil {
			errs = append(errs, checkSelector(path.Child("resourceAttributes", "fieldSelector"), s.RawSelector, len(s.Requirements))...)
		}
		if s := a.LabelSelector; s != nil {
			errs = append(errs, checkSelector(path.Child("resourceAttributes", "labelSelector"), s.RawSelector, len(s.Requirements))...)
		}
	}
	return errs
}

func checkSelector(path *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path))}
	}
	return nil
}

// answer says what the one that spec names may.
func answer(ctx context.Context, z Authorizer, spec *authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	who := &user.DefaultInfo{Name: spec.User, Groups: spec.Groups, UID: spec.UID, Extra: map[string][]string{}}
	for k, v := range spec.Extra {
		who.Extra[k] = v
	}
	a := authorizer.AttributesRecord{User: who}
	if r := spec.ResourceAttributes; r != nil {
		a.ResourceRequest = true
		a.Verb, a.Namespace, a.Name = r.Verb, r.Namespace, r.Name
		a.APIGroup, a.APIVersion, a.Resource, a.Subresource = r.Group, r.Version, r.Resource, r.Subresource
		if a.APIVersion == "" {
			a.APIVersion = "*"
		}
		a.FieldSelectorRequirements, a.FieldSelectorParsingErr = fieldsAsked(r.FieldSelector)
		a.LabelSelectorRequirements, a.LabelSelectorParsingErr = labelsAsked(r.LabelSelector)
	} else {
		a.Verb, a.Path = spec.NonResourceAttributes.Verb, spec.NonResourceAttributes.Path
	}
	decision, reason, err := z.Authorize(ctx, a)
	status := authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason}
	for _, e := range []error{err, a.FieldSelectorParsingErr, a.LabelSelectorParsingErr} {
		switch {
		case e == nil:
		case status.EvaluationError == "":
			status.EvaluationError = e.Error()
		default:
			status.EvaluationError += "; " + e.Error()
		}
	}
	return status
}
