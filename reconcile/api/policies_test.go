package api

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// creations of ConfigMaps.
func creations() []registration.RuleWithOperations {
	return []registration.RuleWithOperations{{
		Operations: []registration.OperationType{registration.Create},
		Rule:       registration.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func constraints() *registration.MatchResources {
	return &registration.MatchResources{ResourceRules: []registration.NamedRuleWithOperations{{RuleWithOperations: creations()[0]}}}
}

func TestAPolicyDeniesByItsExpressionWithParametersAndItsOwnWords(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	if _, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("bounds", map[string]string{"longest": "3"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	policy := &registration.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "short"}, Spec: registration.ValidatingAdmissionPolicySpec{
		MatchConstraints: constraints(), ParamKind: &registration.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		MatchConditions: []registration.MatchCondition{{Name: "named", Expression: "object.metadata.name != 'free'"}},
		Variables:       []registration.Variable{{Name: "longest", Expression: "int(params.data.longest)"}},
		Validations: []registration.Validation{{Expression: "size(object.metadata.name) <= variables.longest",
			MessageExpression: "'names have ' + string(variables.longest) + ' letters in ' + namespaceObject.metadata.name"}},
	}}
	wrong := policy.DeepCopy()
	wrong.Spec.Validations[0].Expression = "object.metadata.name <"
	policies := k.AdmissionregistrationV1()
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), wrong, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.validations[0].expression: Invalid value") {
		t.Errorf("what cannot be compiled: %v", err)
	}
	if _, err := policies.ValidatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deny := registration.DenyAction
	_, err := policies.ValidatingAdmissionPolicyBindings().Create(t.Context(), &registration.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "short"},
		Spec: registration.ValidatingAdmissionPolicyBindingSpec{PolicyName: "short", ValidationActions: []registration.ValidationAction{registration.Deny},
			ParamRef: &registration.ParamRef{Name: "bounds", Namespace: "default", ParameterNotFoundAction: &deny}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) error {
		_, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), configMap(name, nil), metav1.CreateOptions{})
		return err
	}
	err = create("long")
	if err == nil || !strings.Contains(err.Error(), `configmaps "long" is forbidden: ValidatingAdmissionPolicy 'short' with binding 'short' denied request: names have 3 letters in default`) {
		t.Errorf("too long: %v", err)
	}
	for _, name := range []string{"ok", "free"} {
		if err := create(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPolicyChangesWhatIsCreated(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	policies := k.AdmissionregistrationV1()
	if _, err := policies.MutatingAdmissionPolicies().Create(t.Context(), &registration.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "mark"}, Spec: registration.MutatingAdmissionPolicySpec{
		MatchConstraints: constraints(), ReinvocationPolicy: registration.NeverReinvocationPolicy,
		Mutations: []registration.Mutation{
			{PatchType: registration.PatchTypeApplyConfiguration, ApplyConfiguration: &registration.ApplyConfiguration{Expression: `Object{metadata: Object.metadata{labels: {"applied": "yes"}}}`}},
			{PatchType: registration.PatchTypeJSONPatch, JSONPatch: &registration.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/metadata/labels/patched", value: "yes"}]`}},
		},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := policies.MutatingAdmissionPolicyBindings().Create(t.Context(), &registration.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "mark"},
		Spec: registration.MutatingAdmissionPolicyBindingSpec{PolicyName: "mark"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("x", map[string]string{"a": "b"}), metav1.CreateOptions{})
	if err != nil || got.Labels["applied"] != "yes" || got.Labels["patched"] != "yes" || got.Data["a"] != "b" {
		t.Errorf("%v: %+v", err, got)
	}
}

// answeringHook is a webhook, and its certificate.
func answeringHook(t *testing.T, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) (url string, ca []byte) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			t.Error(err)
			return
		}
		review.Response = answer(review.Request)
		review.Response.UID, review.Request = review.Request.UID, nil
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestWebhooksChangeAndRefuse(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	hooks := k.AdmissionregistrationV1()
	var asked, dry atomic.Int32
	kind := admissionv1.PatchTypeJSONPatch
	change, ca := answeringHook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &kind, Patch: []byte(`[{"op":"add","path":"/data","value":{"by":"webhook of ` + r.UserInfo.Username + `"}}]`)}
	})
	judge, judgeCA := answeringHook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		asked.Add(1)
		if r.DryRun != nil && *r.DryRun {
			dry.Add(1)
		}
		m := &corev1.ConfigMap{}
		if err := json.Unmarshal(r.Object.Raw, m); err != nil {
			t.Error(err)
		}
		ok := m.Name != "bad" && strings.HasPrefix(m.Data["by"], "webhook of ")
		return &admissionv1.AdmissionResponse{Allowed: ok, Warnings: []string{"judged"}, Result: &metav1.Status{Message: "it is bad"}}
	})
	none, ignore := registration.SideEffectClassNone, registration.Ignore
	if _, err := hooks.MutatingWebhookConfigurations().Create(t.Context(), &registration.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Webhooks: []registration.MutatingWebhook{{
		Name: "m.example.com", ClientConfig: registration.WebhookClientConfig{URL: &change, CABundle: ca}, Rules: creations(), SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
	}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := "https://127.0.0.1:1/"
	if _, err := hooks.ValidatingWebhookConfigurations().Create(t.Context(), &registration.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Webhooks: []registration.ValidatingWebhook{
		{Name: "v.example.com", ClientConfig: registration.WebhookClientConfig{URL: &judge, CABundle: judgeCA}, Rules: creations(), SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			MatchConditions: []registration.MatchCondition{{Name: "free", Expression: "object.metadata.name != 'free'"}}},
		{Name: "gone.example.com", ClientConfig: registration.WebhookClientConfig{URL: &gone}, Rules: creations(), SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, FailurePolicy: &ignore},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	create := func(name string, dry ...string) (*corev1.ConfigMap, error) {
		return k.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{DryRun: dry})
	}
	if got, err := create("good"); err != nil || got.Data["by"] != "webhook of mainstay-admin" {
		t.Errorf("%v: %+v", err, got)
	}
	if _, err := create("bad"); err == nil || err.Error() != `admission webhook "v.example.com" denied the request: it is bad` {
		t.Errorf("what is refused: %v", err)
	}
	if _, err := create("dry", metav1.DryRunAll); err != nil || dry.Load() != 1 {
		t.Errorf("a dry run: %v, asked %d times", err, dry.Load())
	}
	before := asked.Load()
	if _, err := create("free"); err != nil || asked.Load() != before {
		t.Errorf("what a condition leaves out: %v, asked %d times", err, asked.Load()-before)
	}
}
