package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// signingRequest asks for a certificate for a user in groups.
func signingRequest(user string, groups ...string) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: user, Organization: groups}}, key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// bind gives somebody a cluster role, in a namespace or, if that is empty, everywhere.
func (c *cluster) bind(t testing.TB, namespace, role string, s rbacv1.Subject) {
	t.Helper()
	meta := metav1.ObjectMeta{GenerateName: "test-", Namespace: namespace}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	var err error
	if namespace == "" {
		_, err = c.client(t).RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: []rbacv1.Subject{s}}, metav1.CreateOptions{})
	} else {
		_, err = c.client(t).RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: []rbacv1.Subject{s}}, metav1.CreateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}
}

func TestWhoMayDoWhatOverHTTP(t *testing.T) {
	c := serve(t, withAccounts(t))
	c.namespace(t, "shop")
	for namespace, who := range map[string]map[string]string{"shop": {"ed": "edit", "vera": "view", "adam": "admin"}, "": {"root": "cluster-admin", "otto": "view"}} {
		for name, role := range who {
			c.bind(t, namespace, role, user(name))
		}
	}
	k := c.client(t)
	if _, err := k.CoreV1().ServiceAccounts("shop").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := k.CoreV1().ServiceAccounts("shop").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.bind(t, "shop", "view", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "shop", Name: "robot"})
	subjects := map[string]*rest.Config{"robot": c.bearer(token.Status.Token), "nobody": {Host: c.URL, TLSClientConfig: rest.TLSClientConfig{CAData: c.Authority.PEM()}}, "masters": c.admin(t)}
	for _, name := range []string{"ed", "vera", "adam", "root", "otto", "zoe"} {
		subjects[name] = c.config(t, name)
	}
	const core, shop, other = "/api/v1", "/api/v1/namespaces/shop", "/api/v1/namespaces/default"
	const roles = "/apis/rbac.authorization.k8s.io/v1"
	const ask = "/apis/authorization.k8s.io/v1"
	everybody := "masters root adam ed vera otto robot zoe"
	for _, row := range []struct{ method, path, body, may string }{
		{"GET", "/version", "", everybody},
		{"GET", "/apis", "", everybody},
		{"GET", "/openid/v1/jwks", "", "masters root robot"},
		{"GET", shop + "/pods", "", "masters root adam ed vera otto robot"},
		{"GET", shop + "/configmaps?watch=1&timeoutSeconds=1", "", "masters root adam ed vera otto robot"},
		{"GET", other + "/pods", "", "masters root otto"},
		{"GET", core + "/pods", "", "masters root otto"},
		{"GET", core + "/nodes", "", "masters root"},
		{"GET", shop + "/secrets", "", "masters root adam ed"},
		{"POST", shop + "/configmaps?dryRun=All", `{"metadata":{"name":"x"}}`, "masters root adam ed"},
		{"POST", other + "/configmaps?dryRun=All", `{"metadata":{"name":"x"}}`, "masters root"},
		{"DELETE", shop + "/configmaps?dryRun=All", "", "masters root adam ed"},
		{"GET", roles + "/namespaces/shop/roles", "", "masters root adam"},
		{"GET", roles + "/clusterroles", "", "masters root"},
		{"POST", roles + "/namespaces/shop/roles?dryRun=All", `{"metadata":{"name":"x"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}`, "masters root adam"},
		{"POST", roles + "/namespaces/shop/roles?dryRun=All", `{"metadata":{"name":"x"},"rules":[{"apiGroups":[""],"resources":["nodes"],"verbs":["get"]}]}`, "masters root"},
		{"POST", roles + "/namespaces/shop/rolebindings?dryRun=All", `{"metadata":{"name":"x"},"roleRef":{"kind":"ClusterRole","name":"edit"}}`, "masters root adam"},
		{"POST", roles + "/namespaces/shop/rolebindings?dryRun=All", `{"metadata":{"name":"x"},"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}}`, "masters root"},
		{"POST", roles + "/clusterroles?dryRun=All", `{"metadata":{"name":"x"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}`, "masters root"},
		{"POST", shop + "/serviceaccounts/robot/token", `{"spec":{}}`, "masters root adam ed"},
		{"POST", ask + "/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`, everybody},
		{"POST", ask + "/selfsubjectrulesreviews", `{"spec":{"namespace":"shop"}}`, everybody},
		{"POST", ask + "/subjectaccessreviews", `{"spec":{"user":"ann","resourceAttributes":{"verb":"get","resource":"pods"}}}`, "masters root"},
		{"POST", ask + "/namespaces/shop/localsubjectaccessreviews", `{"spec":{"user":"ann","resourceAttributes":{"namespace":"shop","verb":"get","resource":"pods"}}}`, "masters root adam"},
		{"GET", "/metrics", "", "masters root"},
		{"GET", "/nothing", "", "masters root"},
	} {
		for name, config := range subjects {
			resp, body := do(t, config, c.URL, row.method, row.path, http.Header{"Content-Type": {"application/json"}}, row.body)
			allowed := resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized
			if want := strings.Contains(" "+row.may+" ", " "+name+" "); allowed != want {
				t.Errorf("%s: %s %s: %s %s", name, row.method, row.path, resp.Status, body)
			}
			if name == "nobody" && resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("nobody: %s %s: %s", row.method, row.path, resp.Status)
			}
			if resp.StatusCode >= 400 && allowed && row.path != "/nothing" && row.path != "/metrics" {
				t.Errorf("%s: %s %s: %s %s", name, row.method, row.path, resp.Status, body)
			}
		}
	}
}

func TestAccessIsReviewed(t *testing.T) {
	c := serve(t)
	c.namespace(t, "shop")
	c.bind(t, "shop", "view", user("ann"))
	k := c.client(t)
	ann, err := kubernetes.NewForConfig(c.config(t, "ann"))
	if err != nil {
		t.Fatal(err)
	}
	pods := func(verb string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Namespace: "shop", Verb: verb, Resource: "pods"}
	}
	for verb, want := range map[string]bool{"get": true, "delete": false} {
		self, err := ann.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods(verb)}}, metav1.CreateOptions{})
		if err != nil || self.Status.Allowed != want || self.Status.Denied || want != strings.HasPrefix(self.Status.Reason, `RBAC: allowed by RoleBinding "test-`) {
			t.Errorf("%s: %v %+v", verb, err, self.Status)
		}
		of, err := k.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods(verb)}}, metav1.CreateOptions{})
		if err != nil || of.Status.Allowed != want {
			t.Errorf("%s of ann: %v %+v", verb, err, of.Status)
		}
		local, err := k.AuthorizationV1().LocalSubjectAccessReviews("shop").Create(t.Context(), &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods(verb)}}, metav1.CreateOptions{})
		if err != nil || local.Status.Allowed != want {
			t.Errorf("%s of ann in shop: %v %+v", verb, err, local.Status)
		}
	}
	path := &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}
	selector := pods("list")
	selector.FieldSelector = &authorizationv1.FieldSelectorAttributes{RawSelector: "a=b", Requirements: []metav1.FieldSelectorRequirement{{Key: "a", Operator: "In", Values: []string{"b"}}}}
	for what, row := range map[string]struct {
		spec authorizationv1.SubjectAccessReviewSpec
		want string
	}{
		"nothing asked":  {authorizationv1.SubjectAccessReviewSpec{User: "ann"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"},
		"both asked":     {authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods("get"), NonResourceAttributes: path}, "exactly one of"},
		"of nobody":      {authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: pods("get")}, "at least one of user or group must be specified"},
		"of two selects": {authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: selector}, "may not specified at the same time as requirements"},
	} {
		_, err := k.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: row.spec}, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "shop"}}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) < 10 || len(rules.Status.NonResourceRules) != 2 || rules.Status.Incomplete {
		t.Errorf("%v %+v", err, rules)
	}
}

func TestOneActsForAnotherByARole(t *testing.T) {
	c := serve(t)
	c.namespace(t, "shop")
	k := c.client(t)
	c.bind(t, "shop", "view", user("ann"))
	c.bind(t, "shop", "view", rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "dev"})
	c.bind(t, "shop", "view", rbacv1.Subject{Kind: "ServiceAccount", Name: "robot", Namespace: "shop"})
	may := func(resource, name string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{"", "authentication.k8s.io"}, Resources: []string{resource}, ResourceNames: []string{name}}
	}
	actor := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "actor"}, Rules: []rbacv1.PolicyRule{
		may("users", "ann"), may("users", "zoe"), may("groups", "dev"), may("serviceaccounts", "robot"), may("userextras/scopes", "read")}}
	if _, err := k.RbacV1().ClusterRoles().Create(t.Context(), actor, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.bind(t, "", "actor", user("bob"))
	for _, row := range []struct {
		what string
		as   rest.ImpersonationConfig
		want int
	}{
		{"himself", rest.ImpersonationConfig{}, 403},
		{"ann", rest.ImpersonationConfig{UserName: "ann"}, 200},
		{"zoe, who has nothing", rest.ImpersonationConfig{UserName: "zoe"}, 403},
		{"zoe of a group that has", rest.ImpersonationConfig{UserName: "zoe", Groups: []string{"dev"}}, 200},
		{"zoe of a group that he may not", rest.ImpersonationConfig{UserName: "zoe", Groups: []string{"system:masters"}}, 403},
		{"a service account", rest.ImpersonationConfig{UserName: "system:serviceaccount:shop:robot"}, 200},
		{"another service account", rest.ImpersonationConfig{UserName: "system:serviceaccount:shop:other"}, 403},
		{"ann with an extra", rest.ImpersonationConfig{UserName: "ann", Extra: map[string][]string{"scopes": {"read"}}}, 200},
		{"ann with another extra", rest.ImpersonationConfig{UserName: "ann", Extra: map[string][]string{"scopes": {"write"}}}, 403},
		{"otto", rest.ImpersonationConfig{UserName: "otto"}, 403},
	} {
		config := c.config(t, "bob")
		config.Impersonate = row.as
		if resp, body := do(t, config, c.URL, "GET", "/api/v1/namespaces/shop/pods", nil, ""); resp.StatusCode != row.want {
			t.Errorf("bob as %s: %s %s", row.what, resp.Status, body)
		}
	}
}

func TestACertificateIsAskedForAndDecided(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	c.bind(t, "", "system:node-bootstrapper", user("ann"))
	c.bind(t, "", "system:certificates.k8s.io:kubelet-serving-approver", user("ann"))
	annConfig := c.config(t, "ann", "dev")
	ann, err := kubernetes.NewForConfig(annConfig)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string, groups ...string) (*certificatesv1.CertificateSigningRequest, error) {
		return ann.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.CertificateSigningRequestSpec{Request: signingRequest("bob", groups...), SignerName: certificatesv1.KubeAPIServerClientSignerName,
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "system:admin"},
		}, metav1.CreateOptions{})
	}
	r, err := ask("bob", "dev")
	if err != nil || r.Spec.Username != "ann" || fmt.Sprint(r.Spec.Groups) != "[dev system:authenticated]" {
		t.Fatalf("%v %+v", err, r.Spec)
	}
	if _, err := ask("king", "system:masters"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed") {
		t.Errorf("an administrator is asked for: %v", err)
	}
	approve := func(by kubernetes.Interface, kind certificatesv1.RequestConditionType) error {
		next := r.DeepCopy()
		next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: kind, Status: "True", Reason: "Test"})
		_, err := by.CertificatesV1().CertificateSigningRequests().UpdateApproval(t.Context(), r.Name, next, metav1.UpdateOptions{})
		return err
	}
	if err := approve(ann, certificatesv1.CertificateApproved); !apierrors.IsForbidden(err) {
		t.Errorf("ann approves: %v", err)
	}
	updater := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "updater"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"update", "patch"}, APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests/approval", "certificatesigningrequests/status"}}}}
	if _, err := k.RbacV1().ClusterRoles().Create(t.Context(), updater, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.bind(t, "", "updater", user("ann"))
	if err := approve(ann, certificatesv1.CertificateApproved); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`) {
		t.Errorf("ann, who may write, approves: %v", err)
	}
	if _, err := ann.CertificatesV1().CertificateSigningRequests().Patch(t.Context(), r.Name, types.MergePatchType,
		[]byte(`{"status":{"conditions":[{"type":"Failed","status":"True"}]}}`), metav1.PatchOptions{}, "status"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "user not permitted to sign") {
		t.Errorf("ann signs: %v", err)
	}
	if err := approve(k, certificatesv1.CertificateApproved); err != nil {
		t.Fatal(err)
	}
	if r, err = k.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "bob", metav1.GetOptions{}); err != nil || r.Status.Conditions[0].LastUpdateTime.IsZero() || r.Status.Conditions[0].LastTransitionTime.IsZero() {
		t.Fatalf("%v %+v", err, r.Status)
	}
	if err := approve(k, certificatesv1.CertificateDenied); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "mutually exclusive") {
		t.Errorf("it is denied after all: %v", err)
	}
	undecided := r.DeepCopy()
	undecided.Status.Conditions = nil
	if _, err := k.CertificatesV1().CertificateSigningRequests().UpdateStatus(t.Context(), undecided, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `updates may not remove a condition of type "Approved"`) {
		t.Errorf("the decision is taken back: %v", err)
	}
}

func jsonBody() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// requestBody is a request for a certificate of a machine, as it is posted.
func requestBody(name string) string {
	return fmt.Sprintf(`{"metadata":{"generateName":"r-"},"spec":{"signerName":%q,"usages":["client auth","digital signature"],"request":%q}}`,
		certificatesv1.KubeAPIServerClientKubeletSignerName, base64.StdEncoding.EncodeToString(signingRequest(name, "system:nodes")))
}
