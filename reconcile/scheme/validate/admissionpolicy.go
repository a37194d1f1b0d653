package validate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidatingPolicy validates a ValidatingAdmissionPolicy, but for its expressions.
func ValidatingPolicy(p *registration.ValidatingAdmissionPolicy) field.ErrorList {
	errs := clusterMetadata(&p.ObjectMeta, validation.NameIsDNSSubdomain)
	s, at := &p.Spec, root("spec")
	errs = append(errs, policy(s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions, s.Variables)...)
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		const message = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(at.Child("validations"), message), field.Required(at.Child("auditAnnotations"), message))
	}
	for i := range s.Validations {
		errs = append(errs, policyValidation(&s.Validations[i], at.Child("validations").Index(i))...)
	}
	return append(errs, auditAnnotations(p.Name, s.AuditAnnotations, at.Child("auditAnnotations"))...)
}

// ValidatingPolicyUpdate lets all change.
func ValidatingPolicyUpdate(new, old *registration.ValidatingAdmissionPolicy) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), ValidatingPolicy(new)...)
}

// ValidatingPolicyStatusUpdate validates what was found out about a policy.
func ValidatingPolicyStatusUpdate(new, old *registration.ValidatingAdmissionPolicy) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	if t := new.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			at := root("status").Child("typeChecking", "expressionWarnings").Index(i)
			if w.Warning == "" {
				errs = append(errs, field.Required(at.Child("warning"), ""))
			}
			if strings.TrimSpace(w.FieldRef) == "" {
				errs = append(errs, field.Required(at.Child("fieldRef"), ""))
			}
		}
	}
	return append(errs, metavalidation.ValidateConditions(new.Status.Conditions, root("status").Child("conditions"))...)
}

// MutatingPolicy validates a MutatingAdmissionPolicy, but for its expressions.
func MutatingPolicy(p *registration.MutatingAdmissionPolicy) field.ErrorList {
	errs := clusterMetadata(&p.ObjectMeta, validation.NameIsDNSSubdomain)
	s, at := &p.Spec, root("spec")
	errs = append(errs, policy(s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions, s.Variables)...)
	errs = append(errs, neverDeletions(s.MatchConstraints, at.Child("matchConstraints"))...)
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range s.Mutations {
		errs = append(errs, mutation(&s.Mutations[i], at.Child("mutations").Index(i))...)
	}
	if s.ReinvocationPolicy == "" {
		return append(errs, field.Required(at.Child("reinvocationPolicy"), ""))
	}
	return append(errs, maybe(&s.ReinvocationPolicy, at.Child("reinvocationPolicy"), registration.NeverReinvocationPolicy, registration.IfNeededReinvocationPolicy)...)
}

// MutatingPolicyUpdate lets all change.
func MutatingPolicyUpdate(new, old *registration.MutatingAdmissionPolicy) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), MutatingPolicy(new)...)
}

// policy validates what both kinds of policies have.
func policy(failure *registration.FailurePolicyType, kind *registration.ParamKind, match *registration.MatchResources,
	conditions []registration.MatchCondition, variables []registration.Variable) field.ErrorList {
	at := root("spec")
	errs := maybe(failure, at.Child("failurePolicy"), registration.Fail, registration.Ignore)
	if kind != nil {
		errs = append(errs, policyParams(*kind, at.Child("paramKind"))...)
	}
	if match == nil {
		errs = append(errs, field.Required(at.Child("matchConstraints"), ""))
	} else {
		errs = append(errs, matchResources(match, at.Child("matchConstraints"))...)
		if len(match.ResourceRules) == 0 {
			errs = append(errs, field.Required(at.Child("matchConstraints", "resourceRules"), ""))
		}
	}
	errs = append(errs, matchConditions(conditions, at.Child("matchConditions"))...)
	for i, v := range variables {
		p := at.Child("variables").Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			errs = append(errs, field.Required(p.Child("name"), "name is not specified"))
		case !identifier(v.Name):
			errs = append(errs, field.Invalid(p.Child("name"), v.Name, "must be a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(p.Child("expression"), "expression is not specified"))
		}
	}
	return errs
}

// identifier tells whether CEL can have a variable of that name.
func identifier(name string) bool {
	reserved := []string{"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while"}
	ok, _ := regexp.MatchString("^[_a-zA-Z][_a-zA-Z0-9]*$", name)
	return ok && !slices.Contains(reserved, name)
}

func policyParams(k registration.ParamKind, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	gv, err := schema.ParseGroupVersion(k.APIVersion)
	at := p.Child("apiVersion")
	switch {
	case k.APIVersion == "":
		errs = append(errs, field.Required(at, ""))
	case err != nil:
		errs = append(errs, field.Invalid(at, k.APIVersion, err.Error()))
	case gv.Version == "":
		errs = append(errs, field.Invalid(at, k.APIVersion, "version must be specified"))
	default:
		if gv.Group != "" {
			errs = append(errs, invalid(at, gv.Group, valid.IsDNS1123Subdomain(gv.Group))...)
		}
		errs = append(errs, invalid(at, gv.Version, valid.IsDNS1035Label(gv.Version))...)
	}
	if k.Kind == "" {
		return append(errs, field.Required(p.Child("kind"), ""))
	}
	for _, m := range valid.IsDNS1035Label(strings.ToLower(k.Kind)) {
		errs = append(errs, field.Invalid(p.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+m))
	}
	return errs
}

func policyValidation(v *registration.Validation, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(p.Child("expression"), "expression is not specified"))
	}
	if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		errs = append(errs, field.Invalid(p.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
	}
	switch message := strings.TrimSpace(v.Message); {
	case v.Message != "" && message == "":
		errs = append(errs, field.Invalid(p.Child("message"), v.Message, "must be non-empty if specified"))
	case strings.ContainsAny(message, "\n\r"):
		errs = append(errs, field.Invalid(p.Child("message"), v.Message, "must not contain line breaks"))
	}
	return append(errs, maybe(v.Reason, p.Child("reason"), metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)...)
}

const (
	mostAnnotations = 20
	longestValue    = 5 << 10
)

func auditAnnotations(name string, all []registration.AuditAnnotation, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(all) > mostAnnotations {
		errs = append(errs, field.Invalid(p, all, fmt.Sprintf("must not have more than %d auditAnnotations", mostAnnotations)))
	}
	seen := map[string]bool{}
	for i, a := range all {
		at := p.Index(i)
		if name == "" {
			errs = append(errs, field.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty"))
		} else {
			errs = append(errs, invalid(at.Child("key"), name+"/"+a.Key, valid.IsQualifiedName(name+"/"+a.Key))...)
		}
		switch n := len(strings.TrimSpace(a.ValueExpression)); {
		case n == 0:
			errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
		case n > longestValue:
			errs = append(errs, field.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", longestValue)))
		}
		if seen[a.Key] {
			errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
		}
		seen[a.Key] = true
	}
	return errs
}

func mutation(m *registration.Mutation, p *field.Path) field.ErrorList {
	if m.PatchType == "" {
		return field.ErrorList{field.Required(p.Child("patchType"), "")}
	}
	errs := maybe(&m.PatchType, p.Child("patchType"), registration.PatchTypeApplyConfiguration, registration.PatchTypeJSONPatch)
	if len(errs) > 0 {
		return errs
	}
	expressions := map[registration.PatchType]*string{}
	if m.JSONPatch != nil {
		expressions[registration.PatchTypeJSONPatch] = &m.JSONPatch.Expression
	}
	if m.ApplyConfiguration != nil {
		expressions[registration.PatchTypeApplyConfiguration] = &m.ApplyConfiguration.Expression
	}
	for kind, name := range map[registration.PatchType]string{registration.PatchTypeJSONPatch: "jsonPatch", registration.PatchTypeApplyConfiguration: "applyConfiguration"} {
		text := expressions[kind]
		switch {
		case kind != m.PatchType && text != nil:
			errs = append(errs, field.Invalid(p.Child(name), "{"+name+"}", fmt.Sprintf("must not be specified when patchType is %s", m.PatchType)))
		case kind == m.PatchType && text == nil:
			errs = append(errs, field.Required(p.Child(name), fmt.Sprintf("must be specified when patchType is %s", m.PatchType)))
		case kind == m.PatchType && strings.TrimSpace(*text) == "":
			errs = append(errs, field.Required(p.Child(name, "expression"), ""))
		}
	}
	return errs
}

// neverDeletions refuses what cannot be changed.
func neverDeletions(m *registration.MatchResources, p *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	for _, r := range m.ResourceRules {
		for i := range r.Operations {
			errs = append(errs, maybe(&r.Operations[i], p.Child("resourceRules", "operations"),
				registration.OperationAll, registration.Create, registration.Update, registration.Connect)...)
		}
	}
	return errs
}

// ValidatingBinding validates a ValidatingAdmissionPolicyBinding.
func ValidatingBinding(b *registration.ValidatingAdmissionPolicyBinding) field.ErrorList {
	errs := clusterMetadata(&b.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, binding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)...)
	at := root("spec").Child("validationActions")
	actions := b.Spec.ValidationActions
	for i := range actions {
		errs = append(errs, maybe(&actions[i], at.Index(i), registration.Deny, registration.Warn, registration.Audit)...)
		if slices.Contains(actions[:i], actions[i]) {
			errs = append(errs, field.Duplicate(at.Index(i), actions[i]))
		}
	}
	if slices.Contains(actions, registration.Deny) && slices.Contains(actions, registration.Warn) {
		errs = append(errs, field.Invalid(at, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	if len(actions) == 0 {
		errs = append(errs, field.Required(at, "at least one validation action is required"))
	}
	return errs
}

// ValidatingBindingUpdate lets all change.
func ValidatingBindingUpdate(new, old *registration.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), ValidatingBinding(new)...)
}

// MutatingBinding validates a MutatingAdmissionPolicyBinding.
func MutatingBinding(b *registration.MutatingAdmissionPolicyBinding) field.ErrorList {
	errs := clusterMetadata(&b.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, binding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)...)
	return append(errs, neverDeletions(b.Spec.MatchResources, root("spec").Child("matchResources"))...)
}

// MutatingBindingUpdate lets all change.
func MutatingBindingUpdate(new, old *registration.MutatingAdmissionPolicyBinding) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), MutatingBinding(new)...)
}

func binding(name string, params *registration.ParamRef, match *registration.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if at := root("spec").Child("policyName"); name == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, invalid(at, name, validation.NameIsDNSSubdomain(name, false))...)
	}
	if params != nil {
		errs = append(errs, policyParamRef(params, root("spec").Child("paramRef"))...)
	}
	return append(errs, matchResources(match, root("spec").Child("matchResources"))...)
}

func policyParamRef(r *registration.ParamRef, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	const either = `name and selector are mutually exclusive`
	if r.Name != "" {
		errs = append(errs, invalid(p.Child("name"), r.Name, content.IsPathSegmentName(r.Name))...)
	}
	errs = append(errs, selector(r.Selector, p.Child("selector"))...)
	switch {
	case r.Name != "" && r.Selector != nil:
		errs = append(errs, field.Forbidden(p.Child("name"), either), field.Forbidden(p.Child("selector"), either))
	case r.Name == "" && r.Selector == nil:
		errs = append(errs, field.Required(p, `one of name or selector must be specified`))
	}
	if at := p.Child("parameterNotFoundAction"); r.ParameterNotFoundAction == nil || *r.ParameterNotFoundAction == "" {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, maybe(r.ParameterNotFoundAction, at, registration.AllowAction, registration.DenyAction)...)
	}
	return errs
}
