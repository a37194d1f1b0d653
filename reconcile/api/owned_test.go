package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/patch"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func withGit(c *Config, o *store.Options) {
	c.Owned = apply.BroughtBy
	o.Indexes = append(o.Indexes, apply.Index())
}

// fromGit brings a deployment of three replicas as a source with that policy would.
func (c *cluster) fromGit(t *testing.T, policy v1alpha1.DriftPolicy) {
	t.Helper()
	patcher, err := patch.New(c.Kinds)
	if err != nil {
		t.Fatal(err)
	}
	source := &v1alpha1.GitSource{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"}, Spec: v1alpha1.GitSourceSpec{URL: "builtin:shop", DriftPolicy: policy}}
	var doc map[string]any
	b, err := json.Marshal(deployment("web", 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	doc["apiVersion"], doc["kind"] = "apps/v1", "Deployment"
	doc["metadata"].(map[string]any)["namespace"] = "default"
	web, err := patcher.Apply(nil, &unstructured.Unstructured{Object: doc}, apply.SourceOf(source).Manager(), true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	listed := &v1alpha1.Inventory{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop-1"}, Spec: v1alpha1.InventorySpec{
		Source: "shop", Path: "deploy/web.yaml", Objects: []v1alpha1.InventoryObject{{Group: "apps", Kind: "Deployment", Namespace: "default", Name: "web", Line: 7}}}}
	_, err = c.Memory.Update(context.Background(), "git", func(tx *store.Tx) error {
		for i, o := range []store.Object{source, listed, web} {
			c.Kinds.Of(o).PrepareCreate(o, types.UID(rune('a'+i)), time.Now())
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const replicas5 = `{"spec":{"replicas":5}}`

func TestWhoWritesAFieldOfGitIsWarned(t *testing.T) {
	c := serve(t, withGit)
	c.fromGit(t, v1alpha1.DriftRevert)
	k, w := c.warnedClient(t)
	deployments := k.AppsV1().Deployments("default")
	back := "spec.replicas is owned by Git (source default/shop, deploy/web.yaml:7): what you wrote will be put back"
	for _, write := range []struct {
		says string
		do   func() error
		want string
	}{
		{"a merge patch", func() error {
			_, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(replicas5), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}, back},
		{"a field that Git does not say", func() error {
			_, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"annotations":{"a":"b"}},"spec":{"paused":true}}`), metav1.PatchOptions{})
			return err
		}, ""},
		{"a value that is there", func() error {
			_, err := deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{})
			return err
		}, ""},
		{"an apply by force", func() error {
			force := true
			_, err := deployments.Patch(t.Context(), "web", types.ApplyPatchType, []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":5}}`),
				metav1.PatchOptions{FieldManager: "me", Force: &force, DryRun: []string{metav1.DryRunAll}})
			return err
		}, back},
		{"a scale", func() error {
			_, err := deployments.UpdateScale(t.Context(), "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: autoscalingv1.ScaleSpec{Replicas: 5}},
				metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}, back},
		{"a status", func() error {
			d, err := deployments.Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			d.Status.Replicas = 1
			_, err = deployments.UpdateStatus(t.Context(), d, metav1.UpdateOptions{})
			return err
		}, ""},
		{"another image, and what a list has", func() error {
			return editDeployment(t, deployments.Get, deployments.Update, func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Image = "other:1"
				*d.Spec.Replicas = 1
			})
		}, `spec.replicas, spec.template.spec.containers[name="web"].image are owned by Git (source default/shop, deploy/web.yaml:7): what you wrote will be put back`},
		{"a deletion", func() error { return deployments.Delete(t.Context(), "web", metav1.DeleteOptions{}) },
			"deployment web: this object is owned by Git (source default/shop, deploy/web.yaml:7): it will be made again"},
	} {
		if err := write.do(); err != nil {
			t.Fatalf("%s: %v", write.says, err)
		}
		if said := w.all(); said != write.want {
			t.Errorf("%s: %q\nis not: %q", write.says, said, write.want)
		}
	}
}

func editDeployment(t *testing.T, get func(context.Context, string, metav1.GetOptions) (*appsv1.Deployment, error),
	update func(context.Context, *appsv1.Deployment, metav1.UpdateOptions) (*appsv1.Deployment, error), edit func(*appsv1.Deployment)) error {
	d, err := get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	edit(d)
	_, err = update(t.Context(), d, metav1.UpdateOptions{})
	return err
}

func TestASourceDeniesChangesOrKeepsThem(t *testing.T) {
	for _, row := range []struct {
		policy       v1alpha1.DriftPolicy
		write, erase string
		denied       bool
	}{
		{v1alpha1.DriftDeny, "spec.replicas is owned by Git (source default/shop, deploy/web.yaml:7), which denies changes by anybody else", "which denies its deletion by anybody else", true},
		{v1alpha1.DriftKeep, "what you wrote stays until a commit changes that manifest", "it stays away until a commit changes that manifest", false},
	} {
		t.Run(string(row.policy), func(t *testing.T) {
			c := serve(t, withGit)
			c.fromGit(t, row.policy)
			k, w := c.warnedClient(t)
			deployments := k.AppsV1().Deployments("default")
			_, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(replicas5), metav1.PatchOptions{})
			told := func(err error, want string) {
				t.Helper()
				said := w.all()
				if row.denied {
					if !apierrors.IsForbidden(err) {
						t.Fatalf("%v, %q", err, said)
					}
					said = err.Error()
				} else if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(said, want) {
					t.Errorf("%q\nis not: %q", said, want)
				}
			}
			told(err, row.write)
			if _, err := deployments.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"mine":"1"}}}`), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
			told(deployments.Delete(t.Context(), "web", metav1.DeleteOptions{}), row.erase)
			_, err = deployments.Get(t.Context(), "web", metav1.GetOptions{})
			if there := err == nil; there != row.denied {
				t.Errorf("it is there: %v, %v", there, err)
			}
		})
	}
}
