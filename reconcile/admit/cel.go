package admit

import (
	"context"
	"sync"

	registration "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/informers"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// programs are policies that were compiled, by the stored object, which never changes.
type programs struct {
	mu  sync.Mutex
	all map[store.Object]any
}

// mostPrograms are kept; then all are forgotten, and those that are still there compiled again.
const mostPrograms = 1000

func compiled[P store.Object, E any](c *programs, p P, compile func(P) E) E {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.all[p]; ok {
		return e.(E)
	}
	if c.all == nil || len(c.all) >= mostPrograms {
		c.all = map[store.Object]any{}
	}
	e := compile(p)
	c.all[p] = e
	return e
}

// base is what expressions that are stored may use.
func base() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

func (p *Policies) validatingHooks(s *store.Snapshot) []validating.PolicyHook {
	var hooks []validating.PolicyHook
	bindings := all[*registration.ValidatingAdmissionPolicyBinding](s)
	if len(bindings) == 0 {
		return nil
	}
	for _, policy := range all[*registration.ValidatingAdmissionPolicy](s) {
		h := validating.PolicyHook{Policy: policy}
		for _, b := range bindings {
			if b.Spec.PolicyName == policy.Name {
				h.Bindings = append(h.Bindings, b)
			}
		}
		if len(h.Bindings) == 0 {
			continue
		}
		h.ParamInformer, h.ParamScope = p.params(s, policy.Spec.ParamKind)
		h.Evaluator = compiled(&p.chain.programs, policy, compileValidating)
		hooks = append(hooks, h)
	}
	return hooks
}

func compileValidating(policy *registration.ValidatingAdmissionPolicy) validating.Validator {
	s := &policy.Spec
	vars := cel.OptionalVariableDeclarations{HasParams: s.ParamKind != nil, HasAuthorizer: true}
	messageVars := cel.OptionalVariableDeclarations{HasParams: s.ParamKind != nil}
	compiler, err := cel.NewCompositedCompiler(base())
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, s.FailurePolicy, err)
	}
	compiler.CompileAndStoreVariables(variables(s.Variables), vars, environment.StoredExpressions)
	condition := func(vars cel.OptionalVariableDeclarations, list []cel.ExpressionAccessor) cel.ConditionEvaluator {
		return compiler.CompileCondition(list, vars, environment.StoredExpressions)
	}
	rules, messages, notes := make([]cel.ExpressionAccessor, len(s.Validations)), make([]cel.ExpressionAccessor, len(s.Validations)), []cel.ExpressionAccessor{}
	for i, v := range s.Validations {
		rules[i] = &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		if v.MessageExpression != "" {
			messages[i] = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
	}
	for _, a := range s.AuditAnnotations {
		notes = append(notes, &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression})
	}
	return validating.NewValidator(condition(vars, rules), matcher(compiler, s.MatchConditions, vars, s.FailurePolicy, policy.Name),
		condition(vars, notes), condition(messageVars, messages), s.FailurePolicy, nil)
}

// matcher is nil if there are no conditions.
func matcher(compiler *cel.CompositedCompiler, conditions []registration.MatchCondition, vars cel.OptionalVariableDeclarations,
	failure *registration.FailurePolicyType, name string) matchconditions.Matcher {
	if len(conditions) == 0 {
		return nil
	}
	list := make([]cel.ExpressionAccessor, len(conditions))
	for i := range conditions {
		list[i] = (*matchconditions.MatchCondition)(&conditions[i])
	}
	return matchconditions.NewMatcher(compiler.CompileCondition(list, vars, environment.StoredExpressions), failure, "policy", "validate", name)
}

func variables(all []registration.Variable) []cel.NamedExpressionAccessor {
	list := make([]cel.NamedExpressionAccessor, len(all))
	for i, v := range all {
		list[i] = &validating.Variable{Name: v.Name, Expression: v.Expression}
	}
	return list
}

func (p *Policies) mutatingHooks(s *store.Snapshot) []mutating.PolicyHook {
	var hooks []mutating.PolicyHook
	bindings := all[*registration.MutatingAdmissionPolicyBinding](s)
	if len(bindings) == 0 {
		return nil
	}
	for _, policy := range all[*registration.MutatingAdmissionPolicy](s) {
		h := mutating.PolicyHook{Policy: policy}
		for _, b := range bindings {
			if b.Spec.PolicyName == policy.Name {
				h.Bindings = append(h.Bindings, b)
			}
		}
		if len(h.Bindings) == 0 {
			continue
		}
		h.ParamInformer, h.ParamScope = p.params(s, policy.Spec.ParamKind)
		h.Evaluator = compiled(&p.chain.programs, policy, compileMutating)
		h.ConfigurationError = h.Evaluator.Error
		hooks = append(hooks, h)
	}
	return hooks
}

func compileMutating(policy *registration.MutatingAdmissionPolicy) mutating.PolicyEvaluator {
	s := &policy.Spec
	vars := cel.OptionalVariableDeclarations{HasParams: s.ParamKind != nil, HasAuthorizer: true}
	compiler, err := cel.NewCompositedCompiler(base())
	if err != nil {
		return mutating.PolicyEvaluator{Error: err}
	}
	compiler.CompileAndStoreVariables(variables(s.Variables), vars, environment.StoredExpressions)
	e := mutating.PolicyEvaluator{CompositedCompiler: compiler, Matcher: matcher(compiler, s.MatchConditions, vars, s.FailurePolicy, policy.Name)}
	vars.HasPatchTypes = true
	for _, m := range s.Mutations {
		switch {
		case m.JSONPatch != nil:
			e.Mutators = append(e.Mutators, patch.NewJSONPatcher(compiler.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, vars, environment.StoredExpressions)))
		case m.ApplyConfiguration != nil:
			e.Mutators = append(e.Mutators, patch.NewApplyConfigurationPatcher(compiler.CompileMutatingEvaluator(&patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, vars, environment.StoredExpressions)))
		}
	}
	return e
}

// params are the objects of a kind that policies take parameters from, and where they live; nil if there is no such kind.
func (p *Policies) params(s *store.Snapshot, of *registration.ParamKind) (informers.GenericInformer, meta.RESTScope) {
	if of == nil {
		return nil, nil
	}
	gvk := schema.FromAPIVersionAndKind(of.APIVersion, of.Kind)
	scope := func(namespaced bool) meta.RESTScope {
		if namespaced {
			return meta.RESTScopeNamespace
		}
		return meta.RESTScopeRoot
	}
	if k, err := p.chain.scheme.Lookup(gvk); err == nil {
		return objects{s, gvk}, scope(k.Namespaced)
	}
	if cluster, ok := definition(s, gvk.GroupKind()); ok {
		return objects{s, gvk}, scope(!cluster)
	}
	return nil, nil
}

// converters merge what a policy applies to an object.
type converters struct{ chain *Chain }

func (converters) Run(context.Context) {}

func (c converters) GetTypeConverter(schema.GroupVersionKind) managedfields.TypeConverter {
	return c.chain.scheme.OpenAPI.Converter(c.chain.scheme.Runtime)
}

// expressions refuses policies and webhooks with expressions that cannot be compiled.
func expressions(_ *store.Snapshot, r *Request) error {
	if r.Resource.Group != registration.GroupName || r.Subresource != "" || r.Operation != Create && r.Operation != Update {
		return nil
	}
	var c checker
	spec := field.NewPath("spec")
	switch o := r.Object.(type) {
	case *registration.ValidatingAdmissionPolicy:
		c.begin(o.Spec.ParamKind, o.Spec.Variables, o.Spec.MatchConditions)
		for i, v := range o.Spec.Validations {
			at := spec.Child("validations").Index(i)
			c.expression(&validating.ValidationCondition{Expression: v.Expression}, c.vars, at.Child("expression"))
			if v.MessageExpression != "" {
				c.expression(&validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, cel.OptionalVariableDeclarations{HasParams: c.vars.HasParams}, at.Child("messageExpression"))
			}
		}
		for i, a := range o.Spec.AuditAnnotations {
			c.expression(&validating.AuditAnnotationCondition{ValueExpression: a.ValueExpression}, c.vars, spec.Child("auditAnnotations").Index(i).Child("valueExpression"))
		}
	case *registration.MutatingAdmissionPolicy:
		c.begin(o.Spec.ParamKind, o.Spec.Variables, o.Spec.MatchConditions)
		vars := c.vars
		vars.HasPatchTypes = true
		for i, m := range o.Spec.Mutations {
			at := spec.Child("mutations").Index(i)
			if m.JSONPatch != nil {
				c.expression(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, vars, at.Child("jsonPatch", "expression"))
			}
			if m.ApplyConfiguration != nil {
				c.expression(&patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, vars, at.Child("applyConfiguration", "expression"))
			}
		}
	case *registration.ValidatingWebhookConfiguration:
		for i, w := range o.Webhooks {
			c.conditions(w.MatchConditions, field.NewPath("webhooks").Index(i))
		}
	case *registration.MutatingWebhookConfiguration:
		for i, w := range o.Webhooks {
			c.conditions(w.MatchConditions, field.NewPath("webhooks").Index(i))
		}
	}
	if len(c.errs) > 0 {
		return apierrors.NewInvalid(r.Kind.GroupKind(), r.Name, c.errs)
	}
	return nil
}

// checker compiles expressions to find what is wrong with them. Empty ones are missing, which others tell.
type checker struct {
	compiler *cel.CompositedCompiler
	vars     cel.OptionalVariableDeclarations
	errs     field.ErrorList
}

func (c *checker) begin(params *registration.ParamKind, variables []registration.Variable, conditions []registration.MatchCondition) {
	c.vars = cel.OptionalVariableDeclarations{HasParams: params != nil, HasAuthorizer: true}
	c.conditions(conditions, field.NewPath("spec"))
	for i, v := range variables {
		if c.ready() && v.Expression != "" {
			variable := &validating.Variable{Name: v.Name, Expression: v.Expression}
			c.result(c.compiler.CompileAndStoreVariable(variable, c.vars, environment.NewExpressions).Error, v.Expression, field.NewPath("spec", "variables").Index(i).Child("expression"))
		}
	}
}

func (c *checker) conditions(all []registration.MatchCondition, path *field.Path) {
	c.vars.HasAuthorizer = true
	for i := range all {
		c.expression((*matchconditions.MatchCondition)(&all[i]), c.vars, path.Child("matchConditions").Index(i).Child("expression"))
	}
}

func (c *checker) ready() bool {
	if c.compiler == nil {
		c.compiler, _ = cel.NewCompositedCompiler(base())
	}
	return c.compiler != nil
}

func (c *checker) expression(e cel.ExpressionAccessor, vars cel.OptionalVariableDeclarations, path *field.Path) {
	if e.GetExpression() != "" && c.ready() {
		c.result(c.compiler.CompileCELExpression(e, vars, environment.NewExpressions).Error, e.GetExpression(), path)
	}
}

func (c *checker) result(err *apiservercel.Error, text string, path *field.Path) {
	switch {
	case err == nil:
	case err.Type == apiservercel.ErrorTypeRequired:
		c.errs = append(c.errs, field.Required(path, err.Detail))
	case err.Type == apiservercel.ErrorTypeInvalid:
		c.errs = append(c.errs, field.Invalid(path, text, err.Detail))
	default:
		c.errs = append(c.errs, field.InternalError(path, err))
	}
}
