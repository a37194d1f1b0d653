package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "web", Image: "mainstay.local/hello:v1"}}}},
	}}
}

func TestAnObjectLives(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	made, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(made.Name, "x-") || made.UID == "" || made.CreationTimestamp.IsZero() || made.ResourceVersion == "" || made.Namespace != "default" {
		t.Errorf("%+v", made.ObjectMeta)
	}
	got, err := maps.Get(t.Context(), made.Name, metav1.GetOptions{})
	if err != nil || cmp.Diff(made, got) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(made, got))
	}

	got.Data["a"] = "2"
	changed, err := maps.Update(t.Context(), got, metav1.UpdateOptions{})
	if err != nil || changed.ResourceVersion == made.ResourceVersion || changed.UID != made.UID {
		t.Errorf("%v, %+v", err, changed)
	}
	same, err := maps.Update(t.Context(), changed.DeepCopy(), metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != changed.ResourceVersion {
		t.Errorf("an update that changes nothing: %v, %s, was %s", err, same.ResourceVersion, changed.ResourceVersion)
	}
	if _, err := maps.Update(t.Context(), got, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}

	if err := maps.Delete(t.Context(), made.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("other")}); !apierrors.IsConflict(err) {
		t.Errorf("a deletion of another object: %v", err)
	}
	if err := maps.Delete(t.Context(), made.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(made.UID))}); err != nil {
		t.Error(err)
	}
	if _, err := maps.Get(t.Context(), made.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	if err := maps.Delete(t.Context(), made.Name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func TestAChangeThroughTheAPISaysWhoAskedForIt(t *testing.T) {
	c := serve(t)
	from := c.Memory.Snapshot().Revision()
	if _, err := c.client(t).CoreV1().ConfigMaps("default").Create(t.Context(), configMap("x", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := c.Memory.Since(from, store.Query{})
	if err != nil || len(b.Deltas) != 1 || b.Deltas[0].Why != "create of ConfigMap default/x asked for by mainstay-admin" {
		t.Errorf("%+v, %v", b.Deltas, err)
	}
}

func TestPatchesOfAllKindsArePossible(t *testing.T) {
	c := serve(t)
	deployments := c.client(t).AppsV1().Deployments("default")
	if _, err := deployments.Create(t.Context(), deployment("web", 1), metav1.CreateOptions{FieldManager: "first"}); err != nil {
		t.Fatal(err)
	}
	force := true
	for _, p := range []struct {
		kind types.PatchType
		body string
		want string
	}{
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s:1"}]}}}}`, "side=s:1 web=mainstay.local/hello:v1"},
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}`, "web=mainstay.local/hello:v1"},
		{types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"w:2"}]}}}}`, "web=w:2"},
		{types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"w:3"}]`, "web=w:3"},
		{types.ApplyPatchType, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"name":"web","image":"w:4"}]}}}}`, "web=w:4"},
	} {
		opts := metav1.PatchOptions{FieldManager: "patcher"}
		if p.kind == types.ApplyPatchType {
			opts.Force = &force
		}
		d, err := deployments.Patch(t.Context(), "web", p.kind, []byte(p.body), opts)
		if err != nil {
			t.Errorf("%s: %v", p.kind, err)
			continue
		}
		var got []string
		for _, c := range d.Spec.Template.Spec.Containers {
			got = append(got, c.Name+"="+c.Image)
		}
		if strings.Join(got, " ") != p.want {
			t.Errorf("%s: %v, want %s", p.kind, got, p.want)
		}
	}
}

func TestWhoAppliesAFieldOwnsIt(t *testing.T) {
	c := serve(t)
	deployments := c.client(t).AppsV1().Deployments("default")
	apply := func(manager string, force bool, body string) (*appsv1.Deployment, error) {
		return deployments.Patch(t.Context(), "web", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager, Force: &force})
	}
	whole := func(replicas int, extra string) string {
		return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"%s},"spec":{"replicas":%d,"selector":{"matchLabels":{"a":"b"}},
			"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"web","image":"w:1"}]}}}}`, extra, replicas)
	}
	made, err := apply("git", false, whole(2, `,"annotations":{"mine":"yes"}`))
	if err != nil {
		t.Fatal(err)
	}
	again, err := apply("git", false, whole(2, `,"annotations":{"mine":"yes"}`))
	if err != nil || again.ResourceVersion != made.ResourceVersion {
		t.Errorf("applied twice: %v, %s, was %s", err, again.ResourceVersion, made.ResourceVersion)
	}
	if _, err := apply("other", false, whole(3, "")); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "git": .spec.replicas`) {
		t.Errorf("another manager: %v", err)
	}
	forced, err := apply("other", true, whole(3, ""))
	if err != nil || *forced.Spec.Replicas != 3 {
		t.Errorf("forced: %v", err)
	}
	less, err := apply("git", true, whole(3, ""))
	if err != nil || len(less.Annotations) != 0 {
		t.Errorf("a field that is no longer applied: %v, %v", err, less.Annotations)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	maps, deployments := k.CoreV1().ConfigMaps("default"), k.AppsV1().Deployments("default")
	if _, err := deployments.Create(t.Context(), deployment("web", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	was := c.Memory.Snapshot().Revision()
	all := []string{metav1.DryRunAll}
	made, err := maps.Create(t.Context(), configMap("x", map[string]string{"a": "b"}), metav1.CreateOptions{DryRun: all})
	if err != nil || made.UID == "" {
		t.Error(made, err)
	}
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "No Name"}}, metav1.CreateOptions{DryRun: all}); !apierrors.IsInvalid(err) {
		t.Errorf("what is invalid: %v", err)
	}
	if _, err := k.CoreV1().ConfigMaps("nowhere").Create(t.Context(), configMap("x", nil), metav1.CreateOptions{DryRun: all}); !apierrors.IsNotFound(err) {
		t.Errorf("in a namespace that is not there: %v", err)
	}
	d, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":9}}`), metav1.PatchOptions{DryRun: all})
	if err != nil || *d.Spec.Replicas != 9 {
		t.Error(d, err)
	}
	if _, err := deployments.UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: autoscalingv1.ScaleSpec{Replicas: 4}}, metav1.UpdateOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	if err := deployments.Delete(t.Context(), "web", metav1.DeleteOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	if err := deployments.DeleteCollection(t.Context(), metav1.DeleteOptions{DryRun: all}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if now := c.Memory.Snapshot().Revision(); now != was {
		t.Errorf("revision %d, was %d", now, was)
	}
}

func TestUnknownFieldsAreToldAsTheClientWishes(t *testing.T) {
	c := serve(t)
	var warnings warned
	config := c.admin(t)
	config.WarningHandler = &warnings
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	maps := d.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
	try := func(name, how string) error {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "datas": map[string]any{}}}
		_, err := maps.Create(t.Context(), o, metav1.CreateOptions{FieldValidation: how})
		return err
	}
	if err := try("strict", metav1.FieldValidationStrict); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "datas"`) {
		t.Error(err)
	}
	if err := try("ignore", metav1.FieldValidationIgnore); err != nil || len(warnings) > 0 {
		t.Error(err, warnings)
	}
	if err := try("warn", metav1.FieldValidationWarn); err != nil || len(warnings) != 1 || warnings[0] != `unknown field "datas"` {
		t.Error(err, warnings)
	}
}

// warned keeps the warnings that came with answers.
type warned []string

func (w *warned) HandleWarningHeader(_ int, _, text string) { *w = append(*w, text) }

func TestWhatIsInvalidIsToldAllAtOnce(t *testing.T) {
	c := serve(t)
	d := deployment("web", -1)
	d.Spec.Selector.MatchLabels = map[string]string{"other": "label"}
	d.Spec.Template.Spec.Containers[0].Image = ""
	_, err := c.client(t).AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{})
	status := &apierrors.StatusError{}
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		t.Fatal(err)
	}
	var fields []string
	for _, c := range status.ErrStatus.Details.Causes {
		fields = append(fields, c.Field)
	}
	if want := []string{"spec.replicas", "spec.template.metadata.labels", "spec.template.spec.containers[0].image"}; cmp.Diff(want, fields) != "" {
		t.Errorf("%v\n%s", err, cmp.Diff(want, fields))
	}
}

func TestStatusAndSpecAreWrittenApart(t *testing.T) {
	c := serve(t)
	deployments := c.client(t).AppsV1().Deployments("default")
	d, err := deployments.Create(t.Context(), deployment("web", 1), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.Status.Replicas = 1
	two := int32(2)
	d.Spec.Replicas = &two
	if d, err = deployments.UpdateStatus(t.Context(), d, metav1.UpdateOptions{}); err != nil || d.Status.Replicas != 1 || *d.Spec.Replicas != 1 || d.Generation != 1 {
		t.Errorf("a write of the status: %+v, %v", d, err)
	}
	d.Status.Replicas = 7
	d.Spec.Replicas = &two
	if d, err = deployments.Update(t.Context(), d, metav1.UpdateOptions{}); err != nil || d.Status.Replicas != 1 || *d.Spec.Replicas != 2 || d.Generation != 2 {
		t.Errorf("a write of the rest: %+v, %v", d, err)
	}
	scale, err := deployments.GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 2 || scale.Status.Replicas != 1 || scale.Status.Selector != "app=web" {
		t.Errorf("%+v, %v", scale, err)
	}
	scale.Spec.Replicas = 3
	if scale, err = deployments.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{}); err != nil || scale.Spec.Replicas != 3 {
		t.Errorf("%+v, %v", scale, err)
	}
	scale.ResourceVersion = d.ResourceVersion
	if _, err := deployments.UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a scale of an old version: %v", err)
	}
}

func TestDeletionWaitsForWhatHoldsAnObject(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	held := configMap("held", nil)
	held.Finalizers = []string{"example.com/hold"}
	if _, err := maps.Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(t.Context(), "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	o, err := maps.Get(t.Context(), "held", metav1.GetOptions{})
	if err != nil || o.DeletionTimestamp == nil {
		t.Fatalf("%+v, %v", o, err)
	}
	if _, err := maps.Create(t.Context(), configMap("held", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) || !strings.Contains(err.Error(), "object is being deleted") {
		t.Error(err)
	}
	o.Finalizers = nil
	if _, err := maps.Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Get(t.Context(), "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}

	owner := configMap("owner", nil)
	if _, err := maps.Create(t.Context(), owner, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	foreground := metav1.DeletePropagationForeground
	if err := maps.Delete(t.Context(), "owner", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	if o, err := maps.Get(t.Context(), "owner", metav1.GetOptions{}); err != nil || len(o.Finalizers) != 1 || o.Finalizers[0] != metav1.FinalizerDeleteDependents {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestAPodIsGivenTimeToEnd(t *testing.T) {
	c := serve(t)
	pods := c.client(t).CoreV1().Pods("default")
	c.running(t, "default", "web", "web")
	if err := pods.Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("%+v, %v", p, err)
	}
	none := int64(0)
	if err := pods.Delete(t.Context(), "web", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(t.Context(), "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func TestContainersAreAddedToAPodThatRuns(t *testing.T) {
	c := serve(t)
	pods := c.client(t).CoreV1().Pods("default")
	web := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "x"}}}}
	if _, err := pods.Create(t.Context(), web, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, added, refused string }{
		{"one that looks for a fault", `{"name": "look", "image": "x", "targetContainerName": "CONTAINER"}`, ""},
		{"one of the same name changes the first", `{"name": "look", "image": "y", "targetContainerName": "CONTAINER"}`, `existing ephemeral containers "look" may not be changed`},
		{"the name of another container", `{"name": "CONTAINER", "image": "x"}`, "Duplicate value"},
		{"a target that is not there", `{"name": "b", "image": "x", "targetContainerName": "nobody"}`, "targetContainerName: Not found"},
		{"ports", `{"name": "b", "image": "x", "ports": [{"containerPort": 80}]}`, "ports: Forbidden: cannot be set for an Ephemeral Container"},
		{"another one", `{"name": "b", "image": "x"}`, ""},
	} {
		p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		patch := fmt.Sprintf(`{"spec": {"activeDeadlineSeconds": 5, "ephemeralContainers": [%s]}}`, strings.ReplaceAll(row.added, "CONTAINER", p.Spec.Containers[0].Name))
		changed, err := pods.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "ephemeralcontainers")
		switch {
		case row.refused != "":
			if err == nil || !strings.Contains(err.Error(), row.refused) {
				t.Errorf("%s: %v, want %q", row.name, err, row.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", row.name, err)
		case changed.Spec.ActiveDeadlineSeconds != nil || len(changed.Spec.EphemeralContainers) != len(p.Spec.EphemeralContainers)+1 || changed.Generation != p.Generation+1:
			t.Errorf("%s: %+v", row.name, changed)
		}
	}
	p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || len(p.Spec.EphemeralContainers) != 2 || p.Spec.EphemeralContainers[0].TerminationMessagePath == "" {
		t.Fatalf("%+v, %v", p, err)
	}
	p.Spec.EphemeralContainers = nil
	if _, err := pods.UpdateEphemeralContainers(t.Context(), "web", p, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "may not be removed") {
		t.Errorf("they are removed: %v", err)
	}
}

func TestPodsAreBoundAndEvicted(t *testing.T) {
	c := serve(t)
	pods := c.client(t).CoreV1().Pods("default")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "x"}}}}
	if _, err := pods.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Target: corev1.ObjectReference{Kind: "Node", Name: "mine"}}
	for what, refused := range map[string]*corev1.Binding{
		"another pod":    {ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "other"}, Target: binding.Target},
		"an old version": {ObjectMeta: metav1.ObjectMeta{Name: "web", ResourceVersion: "1"}, Target: binding.Target},
		"no node":        {ObjectMeta: metav1.ObjectMeta{Name: "web"}},
	} {
		if err := pods.Bind(t.Context(), refused, metav1.CreateOptions{}); !apierrors.IsConflict(err) && !apierrors.IsBadRequest(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := pods.Bind(t.Context(), binding, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || got.Spec.NodeName != "mine" || len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("%+v, %v", got, err)
	}
	if err := pods.Bind(t.Context(), binding, metav1.CreateOptions{}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `already assigned to node "mine"`) {
		t.Errorf("bound twice: %v", err)
	}
	if err := pods.EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "web"}}); err != nil {
		t.Fatal(err)
	}
	if got, err := pods.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || got.DeletionTimestamp == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestANamespaceEndsWhenItIsFinalized(t *testing.T) {
	c := serve(t)
	namespaces := c.client(t).CoreV1().Namespaces()
	c.namespace(t, "hello")
	if err := namespaces.Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	n, err := namespaces.Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil || n.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("%+v, %v", n, err)
	}
	_, err = c.client(t).CoreV1().ConfigMaps("hello").Create(t.Context(), configMap("x", nil), metav1.CreateOptions{})
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("something new in it: %v", err)
	}
	n.Spec.Finalizers = nil
	if n, err = namespaces.Update(t.Context(), n, metav1.UpdateOptions{}); err != nil || len(n.Spec.Finalizers) != 1 {
		t.Errorf("its finalizers were changed by an update: %+v, %v", n, err)
	}
	n.Spec.Finalizers = nil
	if _, err := namespaces.Finalize(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := namespaces.Get(t.Context(), "hello", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	if err := namespaces.Delete(t.Context(), "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
}

func TestACollectionIsDeleted(t *testing.T) {
	c := serve(t)
	maps := c.client(t).CoreV1().ConfigMaps("default")
	for i := range 10 {
		m := configMap(fmt.Sprint("m", i), nil)
		m.Labels = map[string]string{"odd": fmt.Sprint(i%2 == 1)}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := maps.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "odd=true"}); err != nil {
		t.Fatal(err)
	}
	list, err := maps.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 5 {
		t.Errorf("%d are left, %v", len(list.Items), err)
	}
	namespaces := c.client(t).CoreV1().RESTClient()
	if err := namespaces.Delete().Resource("namespaces").Do(t.Context()).Error(); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("all namespaces at once: %v", err)
	}
}

func TestKindsOfOursAreServedLikeOthers(t *testing.T) {
	c := serve(t)
	d, err := dynamic.NewForConfig(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	sources := d.Resource(v1alpha1.GroupVersion.WithResource("gitsources")).Namespace("default")
	made, err := sources.Apply(t.Context(), "hello", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "mainstay.dev/v1alpha1", "kind": "GitSource", "metadata": map[string]any{"name": "hello"},
		"spec": map[string]any{"url": "https://example.com/hello.git"},
	}}, metav1.ApplyOptions{FieldManager: "me"})
	if err != nil {
		t.Fatal(err)
	}
	if interval, _, _ := unstructured.NestedString(made.Object, "spec", "interval"); interval != "1m0s" {
		t.Errorf("it was not defaulted: %v", made.Object)
	}
	meta, err := metadata.NewForConfig(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	partial, err := meta.Resource(v1alpha1.GroupVersion.WithResource("gitsources")).Namespace("default").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil || partial.UID != made.GetUID() {
		t.Errorf("%+v, %v", partial, err)
	}
}

func TestLogsAreStreamed(t *testing.T) {
	c := serve(t, withLogs(output{}))
	c.running(t, "default", "one", "web")
	c.running(t, "default", "two", "web", "sidecar")
	c.running(t, "default", "waiting", "web")
	if _, err := c.Memory.Update(t.Context(), "unbind", func(tx *store.Tx) error {
		p, _ := store.Get[*corev1.Pod](tx.Snapshot, "default", "waiting")
		p = p.DeepCopy()
		p.Spec.NodeName = ""
		return tx.Update(p)
	}); err != nil {
		t.Fatal(err)
	}
	pods := c.client(t).CoreV1().Pods("default")
	read := func(pod string, o corev1.PodLogOptions) (string, error) {
		stream, err := pods.GetLogs(pod, &o).Stream(t.Context())
		if err != nil {
			return "", err
		}
		defer func() { _ = stream.Close() }()
		b, err := io.ReadAll(stream)
		return string(b), err
	}
	five, minus := int64(5), int64(-1)
	if got, err := read("one", corev1.PodLogOptions{TailLines: &five}); err != nil || got != "default/one/web tail=5 previous=false timestamps=false\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, c := range []struct {
		pod  string
		opts corev1.PodLogOptions
		want string
	}{
		{"two", corev1.PodLogOptions{}, "a container name must be specified for pod two, choose one of: [web sidecar]"},
		{"two", corev1.PodLogOptions{Container: "x"}, "container x is not valid for pod two"},
		{"one", corev1.PodLogOptions{TailLines: &five, Stream: new(corev1.LogStreamStdout)}, "tailLines: Forbidden: not together with one stream"},
		{"one", corev1.PodLogOptions{TailLines: &minus}, "tailLines: Invalid value: -1: must be greater than or equal to 0"},
		{"waiting", corev1.PodLogOptions{}, "pod waiting does not have a host assigned"},
		{"nobody", corev1.PodLogOptions{}, `pods "nobody" not found`},
	} {
		if _, err := read(c.pod, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.pod, err, c.want)
		}
	}
}

func TestProtobufAndJSONSayTheSame(t *testing.T) {
	c := serve(t)
	if _, err := c.client(t).AppsV1().Deployments("default").Create(t.Context(), deployment("web", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		d := &appsv1.Deployment{}
		config := rest.CopyConfig(c.admin(t))
		config.AcceptContentTypes, config.ContentType = accept, accept
		if err := restClient(t, config).Get().AbsPath("/apis/apps/v1/namespaces/default/deployments/web").Do(context.Background()).Into(d); err != nil {
			t.Fatal(err)
		}
		d.TypeMeta = metav1.TypeMeta{}
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b))
	}
	if got[0] != got[1] {
		t.Error(cmp.Diff(got[0], got[1]))
	}
}
