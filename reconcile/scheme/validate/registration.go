package validate

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What is written in CEL is compiled where it is admitted: here only its place is looked at.

// ValidatingWebhooks validates a ValidatingWebhookConfiguration.
func ValidatingWebhooks(c *registration.ValidatingWebhookConfiguration) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	var all []webhook
	for _, w := range c.Webhooks {
		all = append(all, webhook{w.Name, w.Rules, w.FailurePolicy, w.MatchPolicy, w.SideEffects, w.TimeoutSeconds, w.NamespaceSelector, w.ObjectSelector,
			w.ClientConfig, w.MatchConditions, w.AdmissionReviewVersions})
	}
	return append(errs, webhooks(all)...)
}

// ValidatingWebhooksUpdate lets all change.
func ValidatingWebhooksUpdate(new, old *registration.ValidatingWebhookConfiguration) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), ValidatingWebhooks(new)...)
}

// MutatingWebhooks validates a MutatingWebhookConfiguration.
func MutatingWebhooks(c *registration.MutatingWebhookConfiguration) field.ErrorList {
	errs := clusterMetadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	var all []webhook
	for i, w := range c.Webhooks {
		all = append(all, webhook{w.Name, w.Rules, w.FailurePolicy, w.MatchPolicy, w.SideEffects, w.TimeoutSeconds, w.NamespaceSelector, w.ObjectSelector,
			w.ClientConfig, w.MatchConditions, w.AdmissionReviewVersions})
		errs = append(errs, maybe(w.ReinvocationPolicy, root("webhooks").Index(i).Child("reinvocationPolicy"),
			registration.NeverReinvocationPolicy, registration.IfNeededReinvocationPolicy)...)
	}
	return append(errs, webhooks(all)...)
}

// MutatingWebhooksUpdate lets all change.
func MutatingWebhooksUpdate(new, old *registration.MutatingWebhookConfiguration) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), MutatingWebhooks(new)...)
}

// webhook is what both kinds of webhooks have.
type webhook struct {
	name               string
	rules              []registration.RuleWithOperations
	failure            *registration.FailurePolicyType
	match              *registration.MatchPolicyType
	effects            *registration.SideEffectClass
	seconds            *int32
	namespaces, object *metav1.LabelSelector
	client             registration.WebhookClientConfig
	conditions         []registration.MatchCondition
	versions           []string
}

func webhooks(all []webhook) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, w := range all {
		p := root("webhooks").Index(i)
		errs = append(errs, w.validate(p)...)
		errs = append(errs, reviewVersions(w.versions, p.Child("admissionReviewVersions"))...)
		if w.name != "" && seen[w.name] {
			errs = append(errs, field.Duplicate(p.Child("name"), w.name))
		}
		seen[w.name] = true
	}
	return errs
}

func (w *webhook) validate(p *field.Path) field.ErrorList {
	errs := valid.IsFullyQualifiedName(p.Child("name"), w.name)
	for i := range w.rules {
		errs = append(errs, ruleWithOperations(&w.rules[i], p.Child("rules").Index(i))...)
	}
	errs = append(errs, maybe(w.failure, p.Child("failurePolicy"), registration.Fail, registration.Ignore)...)
	errs = append(errs, maybe(w.match, p.Child("matchPolicy"), registration.Exact, registration.Equivalent)...)
	if w.effects == nil {
		errs = append(errs, field.Required(p.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
	}
	errs = append(errs, maybe(w.effects, p.Child("sideEffects"), registration.SideEffectClassNone, registration.SideEffectClassNoneOnDryRun)...)
	if w.seconds != nil && (*w.seconds > 30 || *w.seconds < 1) {
		errs = append(errs, field.Invalid(p.Child("timeoutSeconds"), *w.seconds, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, selector(w.namespaces, p.Child("namespaceSelector"))...)
	errs = append(errs, selector(w.object, p.Child("objectSelector"))...)
	errs = append(errs, clientConfig(&w.client, p.Child("clientConfig"))...)
	return append(errs, matchConditions(w.conditions, p.Child("matchConditions"))...)
}

func clientConfig(c *registration.WebhookClientConfig, p *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(p, "exactly one of url or service is required")}
	case c.URL != nil:
		return webhookURL(*c.URL, p.Child("url"))
	}
	var errs field.ErrorList
	s := c.Service
	p = p.Child("service")
	if s.Name == "" {
		errs = append(errs, field.Required(p.Child("name"), "service name is required"))
	}
	if s.Namespace == "" {
		errs = append(errs, field.Required(p.Child("namespace"), "service namespace is required"))
	}
	if s.Port != nil {
		for range valid.IsValidPortNum(int(*s.Port)) {
			errs = append(errs, field.Invalid(p.Child("port"), *s.Port, "port is not valid: must be between 1 and 65535, inclusive"))
		}
	}
	if s.Path != nil {
		errs = append(errs, webhookPath(*s.Path, p.Child("path"))...)
	}
	return errs
}

func webhookURL(text string, p *field.Path) field.ErrorList {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		return field.ErrorList{field.Required(p, "url must be a valid URL: "+err.Error()+form)}
	}
	var errs field.ErrorList
	not := func(wrong bool, value, message string) {
		if wrong {
			errs = append(errs, field.Invalid(p, value, message))
		}
	}
	not(u.Scheme != "https", u.Scheme, "'https' is the only allowed URL scheme"+form)
	not(u.Host == "", u.Host, "host must be specified"+form)
	not(u.User != nil, u.User.String(), "user information is not permitted in the URL")
	not(u.Fragment != "", u.Fragment, "fragments are not permitted in the URL")
	not(u.RawQuery != "", u.RawQuery, "query parameters are not permitted in the URL")
	return errs
}

func webhookPath(text string, p *field.Path) field.ErrorList {
	u, err := url.Parse(text)
	if err != nil || u.Path != text || u.IsAbs() {
		return field.ErrorList{field.Invalid(p, text, "must be a valid URL path")}
	}
	if !strings.HasPrefix(text, "/") {
		return field.ErrorList{field.Invalid(p, text, "must start with a '/'")}
	}
	if text == "/" {
		return nil
	}
	var errs field.ErrorList
	for i, step := range strings.Split(strings.TrimSuffix(text[1:], "/"), "/") {
		for _, m := range valid.IsDNS1123Subdomain(step) {
			errs = append(errs, field.Invalid(p, text, fmt.Sprintf("segment[%d]: %s", i, m)))
		}
	}
	return errs
}

func reviewVersions(versions []string, p *field.Path) field.ErrorList {
	known := []string{"v1", "v1beta1"}
	if len(versions) == 0 {
		return field.ErrorList{field.Required(p, "must specify one of "+strings.Join(known, ", "))}
	}
	var errs field.ErrorList
	accepted := false
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			errs = append(errs, field.Invalid(p.Index(i), v, "duplicate version"))
			continue
		}
		errs = append(errs, invalid(p.Index(i), v, valid.IsDNS1035Label(v))...)
		accepted = accepted || slices.Contains(known, v)
	}
	if !accepted {
		errs = append(errs, field.Invalid(p, versions, "must include at least one of "+strings.Join(known, ", ")))
	}
	return errs
}

func ruleWithOperations(r *registration.RuleWithOperations, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, registration.OperationAll) {
		errs = append(errs, field.Invalid(at, r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i := range r.Operations {
		errs = append(errs, maybe(&r.Operations[i], at.Index(i), registration.OperationAll, registration.Create, registration.Update, registration.Delete, registration.Connect)...)
	}
	errs = append(errs, wildcards(r.APIGroups, p.Child("apiGroups"), "API groups")...)
	errs = append(errs, wildcards(r.APIVersions, p.Child("apiVersions"), "API versions")...)
	for i, v := range r.APIVersions {
		if v == "" {
			errs = append(errs, field.Required(p.Child("apiVersions").Index(i), ""))
		}
	}
	errs = append(errs, ruleResources(r.Resources, p.Child("resources"))...)
	return append(errs, maybe(r.Scope, p.Child("scope"), registration.ClusterScope, registration.NamespacedScope, registration.AllScopes)...)
}

func wildcards(list []string, p *field.Path, what string) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(p, "")}
	case len(list) > 1 && slices.Contains(list, "*"):
		return field.ErrorList{field.Invalid(p, list, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

// ruleResources refuses what another entry says already.
func ruleResources(list []string, p *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	whole := map[string]bool{} // "x/*" by x, "*/y" by /y
	plain := false
	for i, r := range list {
		res, sub, divided := strings.Cut(r, "/")
		switch {
		case r == "":
			errs = append(errs, field.Required(p.Index(i), ""))
			continue
		case !divided:
			plain = plain || r != "*"
			continue
		}
		if whole[res] {
			errs = append(errs, field.Invalid(p.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", res, r)))
		}
		if whole["/"+sub] {
			errs = append(errs, field.Invalid(p.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		whole[res] = whole[res] || sub == "*"
		whole["/"+sub] = whole["/"+sub] || res == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		errs = append(errs, field.Invalid(p, list, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(list, "*") {
		errs = append(errs, field.Invalid(p, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

const mostMatchConditions = 64

func matchConditions(all []registration.MatchCondition, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(all) > mostMatchConditions {
		errs = append(errs, field.TooMany(p, len(all), mostMatchConditions))
	}
	seen := map[string]bool{}
	for i, c := range all {
		at := p.Index(i)
		if strings.TrimSpace(c.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		}
		switch {
		case c.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case seen[c.Name]:
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			errs = append(errs, labelKey(c.Name, at.Child("name"))...)
		}
		seen[c.Name] = true
	}
	return errs
}

func matchResources(m *registration.MatchResources, p *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	errs := maybe(m.MatchPolicy, p.Child("matchPolicy"), registration.Exact, registration.Equivalent)
	errs = append(errs, selector(m.NamespaceSelector, p.Child("namespaceSelector"))...)
	errs = append(errs, selector(m.ObjectSelector, p.Child("objectSelector"))...)
	for name, rules := range map[string][]registration.NamedRuleWithOperations{"resourceRules": m.ResourceRules, "excludeResourceRules": m.ExcludeResourceRules} {
		for i := range rules {
			at := p.Child(name).Index(i)
			for j, n := range rules[i].ResourceNames {
				errs = append(errs, invalid(at.Child("resourceNames").Index(j), n, content.IsPathSegmentName(n))...)
				if slices.Contains(rules[i].ResourceNames[:j], n) {
					errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(j), n))
				}
			}
			errs = append(errs, ruleWithOperations(&rules[i].RuleWithOperations, at)...)
		}
	}
	return errs
}
