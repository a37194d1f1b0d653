package api

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestKubectlMakesObjectsWithoutAFile(t *testing.T) {
	c := serve(t)
	withKubectls(t, c, func(t *testing.T, k kubectl) {
		k.namespace = "made-by-" + strings.ReplaceAll(k.version, ".", "-")
		k.say(t, strings.NewReplacer("$NS", k.namespace), []saying{
			{args: "create namespace $NS", want: `namespace/$NS created`},
			{args: "create configmap greeting --from-literal=text=hello", want: `configmap/greeting created`},
			{args: "create secret generic key --from-literal=password=x", want: `secret/key created`},
			{args: "create serviceaccount robot", want: `serviceaccount/robot created`},
			{args: "create deployment web --image=mainstay.local/hello:v1 --replicas=2 --port=80", want: `deployment.apps/web created`},
			{args: "create service clusterip web --tcp=80:8080", want: `service/web created`},
			{args: "expose deployment web --name=exposed --port=80", want: `service/exposed exposed`},
			{args: "run one --image=mainstay.local/hello:v1", want: `pod/one created`},
			{args: "set image deployment/web hello=mainstay.local/hello:v2", want: `deployment.apps/web image updated`},
			{args: "set env deployment/web A=b", want: `deployment.apps/web env updated`},
			{args: "get all", want: `(?s)pod/one.*service/exposed.*service/web.*deployment.apps/web`},
			{args: "get deploy,svc,cm,no,ns", want: `(?s)deployment.apps/web.*service/web.*configmap/greeting.*namespace/default`},
			{args: "create configmap greeting", want: `configmaps "greeting" already exists`, fail: true},
			{args: "create configmap x --namespace=nowhere", want: `namespaces "nowhere" not found`, fail: true},
			{args: "get gateways", want: `the server doesn't have a resource type "gateways"`, fail: true},
			{args: "api-resources --api-group=apps", want: `(?s)deployments +deploy +apps/v1 +true +Deployment.*replicasets +rs`},
			{args: "version", want: `Server Version: v1.37.2\+mainstay`},
			{args: "delete pods --all", want: `pod "one" deleted`},
		})
	})
}

func TestKubectlScales(t *testing.T) {
	c := serve(t)
	withKubectls(t, c, func(t *testing.T, k kubectl) {
		k.namespace = "scale-" + strings.ReplaceAll(k.version, ".", "-")
		c.namespace(t, k.namespace)
		for _, kind := range c.Kinds.All() {
			if kind.Scale == nil {
				continue
			}
			k.say(t, strings.NewReplacer("$FILE", manifest(t, kind, k.namespace, "web", "one"), "$KIND", kind.Resource().String()), []saying{
				{args: "create -f $FILE", want: `/web created`},
				{args: "scale $KIND/web --replicas=5", want: `/web scaled`},
				{args: "get $KIND/web -o jsonpath={.spec.replicas},{.metadata.generation}", want: `^5,2$`},
				{args: "scale $KIND/web --replicas=7 --current-replicas=4", want: `Expected replicas to be 4, was 5`, fail: true},
				{args: "get $KIND/web --subresource=scale -o jsonpath={.kind},{.spec.replicas},{.status.selector}", want: `^Scale,5,app=web$`},
				{args: "get $KIND/web -o yaml --show-managed-fields", want: `(?s)f:replicas: \{\}\s+manager: kubectl\S*\s+operation: Update\s+subresource: scale`},
				{args: "patch $KIND/web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":-1}}", want: `must be greater than or equal to 0`, fail: true},
			})
		}
	})
}

// revise does what the deployment's controller does, as far as kubectl looks at it: it keeps a ReplicaSet for each
// template, with its revision, and reports that all is rolled out.
func revise(t *testing.T, c *cluster, namespace string, revision int) {
	t.Helper()
	apps := c.client(t).AppsV1()
	d, err := apps.Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	controller := true
	number := map[string]string{"deployment.kubernetes.io/revision": fmt.Sprint(revision)}
	template := d.Spec.Template.DeepCopy()
	template.Labels["pod-template-hash"] = fmt.Sprint("t", revision)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels["pod-template-hash"] = fmt.Sprint("t", revision)
	if _, err := apps.ReplicaSets(namespace).Create(t.Context(), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-t", revision), Labels: template.Labels, Annotations: number,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: d.UID, Controller: &controller}}},
		Spec: appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: selector, Template: *template},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, "deployment.kubernetes.io/revision", fmt.Sprint(revision))
	if d, err = apps.Deployments(namespace).Update(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	report(t, c, d)
}

// report says that d is rolled out as it is wished now.
func report(t *testing.T, c *cluster, d *appsv1.Deployment) {
	t.Helper()
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	if _, err := c.client(t).AppsV1().Deployments(d.Namespace).UpdateStatus(t.Context(), d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestKubectlFollowsRollouts(t *testing.T) {
	c := serve(t)
	withKubectls(t, c, func(t *testing.T, k kubectl) {
		k.namespace = "rollout-" + strings.ReplaceAll(k.version, ".", "-")
		c.namespace(t, k.namespace)
		say := func(all ...saying) { t.Helper(); k.say(t, strings.NewReplacer(), all) }
		say(saying{args: "create deployment web --image=mainstay.local/hello:v1 --replicas=2", want: "created"})
		revise(t, c, k.namespace, 1)
		say(saying{args: "set image deployment/web hello=mainstay.local/hello:v2", want: "image updated"})
		revise(t, c, k.namespace, 2)
		say(
			saying{args: "rollout status deployment/web --timeout=20s", want: `deployment "web" successfully rolled out`},
			saying{args: "rollout history deployment/web", want: `(?s)1 +<none>.*2 +<none>`},
			saying{args: "rollout history deployment/web --revision=1", want: `Image:\s+mainstay.local/hello:v1`},
			saying{args: "rollout undo deployment/web", want: `deployment.apps/web rolled back`},
			saying{args: "get deployment/web -o jsonpath={..image}", want: `^mainstay.local/hello:v1$`},
			saying{args: "rollout restart deployment/web", want: `deployment.apps/web restarted`},
			saying{args: "get deployment/web -o jsonpath={.spec.template.metadata.annotations}", want: `kubectl.kubernetes.io/restartedAt`},
			saying{args: "rollout pause deployment/web", want: `deployment.apps/web paused`},
			saying{args: "rollout pause deployment/web", want: `already paused`, fail: true},
			saying{args: "rollout resume deployment/web", want: `deployment.apps/web resumed`},
		)

		// A status that is asked for while the rollout is under way waits for it.
		done := make(chan string)
		go func() {
			out, _ := k.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
			done <- out
		}()
		d, err := c.client(t).AppsV1().Deployments(k.namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case out := <-done:
			t.Fatalf("it did not wait: %s", out)
		case <-time.After(time.Second):
		}
		report(t, c, d)
		if out := <-done; !strings.Contains(out, `successfully rolled out`) {
			t.Error(out)
		}
	})
}

// output is what containers wrote: for tests, since the node is on another floor.
type output struct{}

func (output) Logs(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		tail := "all"
		if o.TailLines != nil {
			tail = fmt.Sprint(*o.TailLines)
		}
		fmt.Fprintf(w, "%s/%s/%s tail=%s previous=%v timestamps=%v\n", namespace, pod, o.Container, tail, o.Previous, o.Timestamps)
		if o.Follow {
			<-ctx.Done()
		}
		_ = w.Close()
	}()
	return r, nil
}

// running makes a pod that is bound to a node.
func (c *cluster) running(t testing.TB, namespace, name string, containers ...string) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: "mine"}}
	for _, n := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "x"})
	}
	if _, err := c.Memory.Update(t.Context(), "a pod runs", func(tx *store.Tx) error { return tx.Create(p) }); err != nil {
		t.Fatal(err)
	}
}

func TestKubectlReadsLogs(t *testing.T) {
	c := serve(t, withLogs(output{}))
	c.running(t, "default", "one", "web")
	c.running(t, "default", "two", "web", "sidecar")
	withKubectls(t, c, func(t *testing.T, k kubectl) {
		k.say(t, strings.NewReplacer(), []saying{
			{args: "logs one", want: `^default/one/web tail=all previous=false timestamps=false\n$`},
			{args: "logs one --tail=5 --previous --timestamps", want: `^default/one/web tail=5 previous=true timestamps=true\n$`},
			{args: "logs two -c sidecar", want: `^default/two/sidecar `},
			{args: "logs two -c nobody", want: `container nobody (is not valid for pod two|not found in pod two)`, fail: true},
			{args: "logs two --all-containers", want: `(?s)default/two/web .*default/two/sidecar |default/two/sidecar .*default/two/web `},
			{args: "logs nobody", want: `pods "nobody" not found`, fail: true},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		follow := k.command(ctx, "logs", "-f", "one")
		out, err := follow.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := follow.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 200)
		n, err := out.Read(line)
		if err != nil || !strings.HasPrefix(string(line[:n]), "default/one/web ") {
			t.Errorf("%q, %v", line[:n], err)
		}
		cancel()
		_ = follow.Wait() // it was killed
	})
}
