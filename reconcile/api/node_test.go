package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAMachineSeesAndWritesOnlyWhatIsItsOwn(t *testing.T) {
	c := serve(t, withAccounts(t))
	c.namespace(t, "shop")
	c.namespace(t, "kube-node-lease")
	k := c.client(t)
	if _, err := k.CoreV1().ServiceAccounts("shop").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	uids := map[string]string{}
	for name, node := range map[string]string{"mine": "a", "other": "b"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: "robot",
			Containers: []corev1.Container{{Name: "c", Image: "i", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "of-" + name}}}}}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "of-" + name}}}}},
		}}
		made, err := k.CoreV1().Pods("shop").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		uids[name] = string(made.UID)
		for _, o := range []string{"secrets", "configmaps"} {
			if resp, body := do(t, c.admin(t), c.URL, "POST", "/api/v1/namespaces/shop/"+o, jsonBody(), fmt.Sprintf(`{"metadata":{"name":"of-%s"}}`, name)); resp.StatusCode != 201 {
				t.Fatal(body)
			}
		}
	}
	a := c.config(t, "system:node:a", "system:nodes")
	const shop, core = "/api/v1/namespaces/shop", "/api/v1"
	token := func(pod, audience string) string {
		return fmt.Sprintf(`{"spec":{"audiences":[%s],"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"%s","uid":"%s"}}}`, audience, pod, uids[pod])
	}
	for _, row := range []struct {
		sentence, method, path, body string
		want                         int
		says                         string
	}{
		{"it reads a secret of its pod", "GET", shop + "/secrets/of-mine", "", 200, ""},
		{"it watches a secret of its pod", "GET", shop + "/secrets?watch=1&timeoutSeconds=1&fieldSelector=metadata.name=of-mine", "", 200, ""},
		{"it reads a secret of another's pod", "GET", shop + "/secrets/of-other", "", 403, "no relationship found between node 'a' and this object"},
		{"it lists secrets", "GET", shop + "/secrets", "", 403, "No Object name found"},
		{"it reads a config map of its pod", "GET", shop + "/configmaps/of-mine", "", 200, ""},
		{"it reads a config map of another's pod", "GET", shop + "/configmaps/of-other", "", 403, "no relationship found"},
		{"it writes a config map of its pod", "DELETE", shop + "/configmaps/of-mine?dryRun=All", "", 403, "can only read resources of this type"},
		{"it lists its pods", "GET", core + "/pods?fieldSelector=spec.nodeName=a", "", 200, ""},
		{"it lists all pods", "GET", core + "/pods", "", 403, "can only list/watch pods with spec.nodeName field selector"},
		{"it lists another's pods", "GET", core + "/pods?fieldSelector=spec.nodeName=b", "", 403, "can only list/watch pods"},
		{"it reads its pod", "GET", shop + "/pods/mine", "", 200, ""},
		{"it reads another's pod", "GET", shop + "/pods/other", "", 403, "no relationship found"},
		{"it reports of its pod", "PATCH", shop + "/pods/mine/status", `{"status":{"message":"hello"}}`, 200, ""},
		{"it reports of another's pod", "PATCH", shop + "/pods/other/status", `{"status":{"message":"hello"}}`, 403, `node \"a\" can only update pod status for pods with spec.nodeName set to itself`},
		{"it deletes another's pod", "DELETE", shop + "/pods/other", "", 403, `node \"a\" can only delete pods with spec.nodeName set to itself`},
		{"it makes a pod", "POST", shop + "/pods", `{"metadata":{"name":"x"},"spec":{"nodeName":"a","containers":[{"name":"c","image":"i"}]}}`, 403, "can only create mirror pods"},
		{"it gets a token for its pod", "POST", shop + "/serviceaccounts/robot/token", token("mine", ""), 201, ""},
		{"it gets a token for its pod that somebody else hears", "POST", shop + "/serviceaccounts/robot/token", token("mine", `"vault"`), 403, `audience \"vault\" not found in pod spec volume`},
		{"it gets a token for another's pod", "POST", shop + "/serviceaccounts/robot/token", token("other", ""), 403, "node requested token bound to a pod scheduled on a different node"},
		{"it gets a token for no pod", "POST", shop + "/serviceaccounts/robot/token", `{"spec":{}}`, 403, "node requested token not bound to a pod"},
		{"it gets a token of an account that is not its pods'", "POST", shop + "/serviceaccounts/other/token", token("mine", ""), 403, "no relationship found"},
		{"it registers", "POST", core + "/nodes", `{"metadata":{"name":"a","labels":{"kubernetes.io/hostname":"a","team":"x"}}}`, 201, ""},
		{"it registers another", "POST", core + "/nodes", `{"metadata":{"name":"b"}}`, 403, `node \"a\" is not allowed to modify node \"b\"`},
		{"it reads itself", "GET", core + "/nodes/a", "", 200, ""},
		{"it lists nodes", "GET", core + "/nodes", "", 403, "cannot read all nodes, only its own Node object"},
		{"it labels itself as trusted", "PATCH", core + "/nodes/a", `{"metadata":{"labels":{"node-restriction.kubernetes.io/safe":"yes"}}}`, 403, "is not allowed to modify labels: node-restriction.kubernetes.io/safe"},
		{"it labels itself with its own", "PATCH", core + "/nodes/a", `{"metadata":{"labels":{"team":"y"}}}`, 200, ""},
		{"it taints itself", "PATCH", core + "/nodes/a", `{"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}}`, 403, "is not allowed to modify taints"},
		{"it deletes itself", "DELETE", core + "/nodes/a", "", 403, "nodes may not"},
		{"it takes its lease", "POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", `{"metadata":{"name":"a"}}`, 201, ""},
		{"it takes another's lease", "POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", `{"metadata":{"name":"b"}}`, 403, "can only access node lease with the same name as the requesting node"},
		{"it takes a lease elsewhere", "POST", "/apis/coordination.k8s.io/v1/namespaces/shop/leases", `{"metadata":{"name":"a"}}`, 403, `can only access leases in the \"kube-node-lease\" system namespace`},
		{"it reads services", "GET", core + "/services", "", 200, ""},
		{"it reads roles", "GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "", 403, "nodes may not"},
		{"it asks for a certificate of another", "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", requestBody("system:node:b"), 403, "can only create a node CSR with CN=system:node:a"},
		{"it asks for its certificate", "POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", requestBody("system:node:a"), 201, ""},
	} {
		header := jsonBody()
		if row.method == http.MethodPatch {
			header = http.Header{"Content-Type": {"application/merge-patch+json"}}
		}
		if resp, body := do(t, a, c.URL, row.method, row.path, header, row.body); resp.StatusCode != row.want || !strings.Contains(body, row.says) {
			t.Errorf("%s: %s %s", row.sentence, resp.Status, body)
		}
	}
	for _, other := range [][]string{{"system:node:a"}, {"a", "system:nodes"}, {"system:node:", "system:nodes"}} {
		if resp, body := do(t, c.config(t, other[0], other[1:]...), c.URL, "GET", shop+"/secrets/of-mine", nil, ""); resp.StatusCode != 403 {
			t.Errorf("%q: %s %s", other, resp.Status, body)
		}
	}
}
