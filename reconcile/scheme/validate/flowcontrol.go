package validate

import (
	"fmt"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	precedenceAtMost = 10000
	queuesAtMost     = 10 * 1000 * 1000
)

// FlowSchema validates a new FlowSchema.
func FlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	errs := clusterMetadata(&f.ObjectMeta, validation.NameIsDNSSubdomain)
	path := root("spec")
	if n := f.Spec.MatchingPrecedence; n <= 0 {
		errs = append(errs, field.Invalid(path.Child("matchingPrecedence"), n, "must be a positive value"))
	} else if n > precedenceAtMost {
		errs = append(errs, field.Invalid(path.Child("matchingPrecedence"), n, fmt.Sprintf("must not be greater than %v", precedenceAtMost)))
	}
	if f.Spec.MatchingPrecedence == 1 && f.Name != "exempt" {
		errs = append(errs, field.Invalid(path.Child("matchingPrecedence"), f.Spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if d := f.Spec.DistinguisherMethod; d != nil {
		errs = append(errs, maybe(&d.Type, path.Child("distinguisherMethod").Child("type"), flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)...)
	}
	at := path.Child("priorityLevelConfiguration", "name")
	if name := f.Spec.PriorityLevelConfiguration.Name; name == "" {
		errs = append(errs, field.Required(at, "must reference a priority level"))
	} else {
		errs = append(errs, invalid(at, name, validation.NameIsDNSSubdomain(name, false))...)
	}
	for i := range f.Spec.Rules {
		errs = append(errs, flowRule(&f.Spec.Rules[i], path.Child("rules").Index(i))...)
	}
	return errs
}

// FlowSchemaUpdate validates an update. All of the spec may change.
func FlowSchemaUpdate(new, old *flowcontrolv1.FlowSchema) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), FlowSchema(new)...)
}

// FlowSchemaStatusUpdate validates an update of the status.
func FlowSchemaStatusUpdate(new, old *flowcontrolv1.FlowSchema) field.ErrorList {
	var types []string
	for _, c := range new.Status.Conditions {
		types = append(types, string(c.Type))
	}
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), conditionTypes(types)...)
}

func flowRule(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, flowSubject(&r.Subjects[i], at.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i, rule := range r.ResourceRules {
		p := at.Child("resourceRules").Index(i)
		errs = append(errs, someOrAll(rule.Verbs, "verbs", p)...)
		errs = append(errs, someOrAll(rule.APIGroups, "apiGroups", p)...)
		errs = append(errs, someOrAll(rule.Resources, "resources", p)...)
		if len(rule.Namespaces) == 0 && !rule.ClusterScope {
			errs = append(errs, field.Required(p.Child("namespaces"), "resource rules that are not cluster scoped must supply at least one namespace"))
		}
	}
	for i, rule := range r.NonResourceRules {
		p := at.Child("nonResourceRules").Index(i)
		errs = append(errs, someOrAll(rule.Verbs, "verbs", p)...)
		errs = append(errs, someOrAll(rule.NonResourceURLs, "nonResourceURLs", p)...)
	}
	return errs
}

// someOrAll wants at least one value, and nothing beside "*".
func someOrAll(values []string, name string, at *field.Path) field.ErrorList {
	switch {
	case len(values) == 0:
		return field.ErrorList{field.Required(at.Child(name), name+" must contain at least one value")}
	case len(values) > 1 && slices.Contains(values, "*"):
		return field.ErrorList{field.Invalid(at.Child(name), values, "if '*' is present, must not specify other "+name)}
	}
	return nil
}

func flowSubject(s *flowcontrolv1.Subject, at *field.Path) field.ErrorList {
	errs := maybe(&s.Kind, at.Child("kind"), flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
	for _, f := range []struct {
		kind flowcontrolv1.SubjectKind
		name string
		set  bool
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil}, {flowcontrolv1.SubjectKindGroup, "group", s.Group != nil},
	} {
		switch {
		case s.Kind == f.kind && !f.set:
			errs = append(errs, field.Required(at.Child(f.name), fmt.Sprintf("%s is required when subject kind is '%s'", f.name, f.kind)))
		case s.Kind != f.kind && f.set:
			errs = append(errs, field.Forbidden(at.Child(f.name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", f.name, f.kind)))
		}
	}
	switch {
	case s.User != nil:
		errs = append(errs, required(s.User.Name, at.Child("user", "name"))...)
	case s.Group != nil:
		errs = append(errs, required(s.Group.Name, at.Child("group", "name"))...)
	case s.ServiceAccount != nil:
		errs = append(errs, required(s.ServiceAccount.Name, at.Child("serviceAccount", "name"))...)
		if ns := s.ServiceAccount.Namespace; ns == "" {
			errs = append(errs, field.Required(at.Child("serviceAccount", "namespace"), "must specify namespace for service account"))
		} else {
			errs = append(errs, invalid(at.Child("serviceAccount", "namespace"), ns, valid.IsDNS1123Label(ns))...)
		}
	}
	return errs
}

// PriorityLevelConfiguration validates a new PriorityLevelConfiguration.
func PriorityLevelConfiguration(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	errs := clusterMetadata(&p.ObjectMeta, validation.NameIsDNSSubdomain)
	path := root("spec")
	limited, exempt := p.Spec.Type == flowcontrolv1.PriorityLevelEnablementLimited, p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	if (p.Name == "exempt") != exempt {
		errs = append(errs, field.Invalid(path.Child("type"), p.Spec.Type, "type must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	errs = append(errs, maybe(&p.Spec.Type, path.Child("type"), flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)...)
	switch {
	case exempt && p.Spec.Limited != nil:
		errs = append(errs, field.Forbidden(path.Child("limited"), "must be nil if the type is not Limited"))
	case limited && p.Spec.Exempt != nil:
		errs = append(errs, field.Forbidden(path.Child("exempt"), "must be nil if the type is Limited"))
	case limited && p.Spec.Limited == nil:
		errs = append(errs, field.Required(path.Child("limited"), "must not be empty when type is Limited"))
	case limited:
		errs = append(errs, limitedLevel(p.Spec.Limited, path.Child("limited"))...)
	case exempt && p.Spec.Exempt != nil:
		errs = append(errs, levelShares(p.Spec.Exempt.NominalConcurrencyShares, p.Spec.Exempt.LendablePercent, 0, path.Child("exempt"))...)
	}
	return errs
}

func levelShares(shares, lendable *int32, least int32, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if shares != nil && *shares < least {
		errs = append(errs, field.Invalid(at.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer"))
	}
	if lendable != nil && (*lendable < 0 || *lendable > 100) {
		errs = append(errs, field.Invalid(at.Child("lendablePercent"), *lendable, "must be between 0 and 100, inclusive"))
	}
	return errs
}

func limitedLevel(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) field.ErrorList {
	errs := levelShares(l.NominalConcurrencyShares, l.LendablePercent, 0, at)
	if b := l.BorrowingLimitPercent; b != nil && *b < 0 {
		errs = append(errs, field.Invalid(at.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer"))
	}
	response := at.Child("limitResponse")
	queuing := response.Child("queuing")
	q := l.LimitResponse.Queuing
	switch l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if q != nil {
			errs = append(errs, field.Forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited"))
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if q == nil {
			return append(errs, field.Required(queuing, "must not be empty if limited.limitResponse.type is Limited"))
		}
		for _, f := range []struct {
			name string
			n    int32
		}{{"queueLengthLimit", q.QueueLengthLimit}, {"queues", q.Queues}, {"handSize", q.HandSize}} {
			if f.n <= 0 {
				errs = append(errs, field.Invalid(queuing.Child(f.name), f.n, "must be positive"))
			}
		}
		if q.Queues > queuesAtMost {
			errs = append(errs, field.Invalid(queuing.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", queuesAtMost)))
		}
		if q.HandSize > q.Queues {
			errs = append(errs, field.Invalid(queuing.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
		}
	default:
		errs = append(errs, maybe(&l.LimitResponse.Type, response.Child("type"), flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
	return errs
}

// PriorityLevelConfigurationUpdate validates an update. All of the spec may change.
func PriorityLevelConfigurationUpdate(new, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), PriorityLevelConfiguration(new)...)
}

// PriorityLevelConfigurationStatusUpdate validates an update of the status.
func PriorityLevelConfigurationStatusUpdate(new, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var types []string
	for _, c := range new.Status.Conditions {
		types = append(types, string(c.Type))
	}
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), conditionTypes(types)...)
}

// conditionTypes are there, and each once.
func conditionTypes(types []string) field.ErrorList {
	var errs field.ErrorList
	for i, t := range types {
		at := root("status").Child("conditions").Index(i).Child("type")
		errs = append(errs, required(t, at)...)
		if slices.Contains(types[:i], t) {
			errs = append(errs, field.Duplicate(at, t))
		}
	}
	return errs
}
