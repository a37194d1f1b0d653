package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// warnings collects what the API warns of.
type warnings struct {
	mu   sync.Mutex
	said []string
}

func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, code int, agent, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

// all is what was said since it was last asked.
func (w *warnings) all() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := strings.Join(w.said, "\n")
	w.said = nil
	return said
}

// warnedClient is a client, and what it is warned of.
func (c *cluster) warnedClient(t testing.TB) (*kubernetes.Clientset, *warnings) {
	t.Helper()
	w, config := &warnings{}, c.admin(t)
	config.WarningHandlerWithContext = w
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return k, w
}

func TestWhatIsKeptWithoutEffectIsWarnedOf(t *testing.T) {
	k, w := serve(t).warnedClient(t)
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "deny"}}
	made, err := k.NetworkingV1().NetworkPolicies("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil || len(made.Spec.PolicyTypes) != 1 || made.Generation != 1 {
		t.Errorf("%+v, %v", made, err)
	}
	if said := w.all(); !strings.Contains(said, "NetworkPolicies are not enforced yet") {
		t.Errorf("%q", said)
	}
	made.Labels = map[string]string{"a": "b"}
	if made, err = k.NetworkingV1().NetworkPolicies("default").Update(t.Context(), made, metav1.UpdateOptions{}); err != nil || made.Generation != 1 {
		t.Errorf("%+v, %v", made, err)
	}
	if said := w.all(); said != "" {
		t.Errorf("a label: %q", said)
	}
	made.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{}}
	if made, err = k.NetworkingV1().NetworkPolicies("default").Update(t.Context(), made, metav1.UpdateOptions{}); err != nil || made.Generation != 2 {
		t.Errorf("%+v, %v", made, err)
	}
	if said := w.all(); !strings.Contains(said, "not enforced yet") {
		t.Errorf("another rule: %q", said)
	}
}

func TestOldVersionsAreWarnedOfAndComponentsAreTold(t *testing.T) {
	k, w := serve(t).warnedClient(t)
	if _, err := k.CoreV1().Endpoints("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if said := w.all(); !strings.Contains(said, "v1 Endpoints is deprecated in v1.33+") {
		t.Errorf("%q", said)
	}
	list, err := k.CoreV1().ComponentStatuses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, c := range list.Items {
		if len(c.Conditions) != 1 || c.Conditions[0].Status != corev1.ConditionTrue {
			t.Errorf("%+v", c)
		}
	}
	one, err := k.CoreV1().ComponentStatuses().Get(t.Context(), "scheduler", metav1.GetOptions{})
	if err != nil || one.Name != "scheduler" {
		t.Errorf("%+v, %v", one, err)
	}
	if _, err := k.CoreV1().ComponentStatuses().Get(t.Context(), "nobody", metav1.GetOptions{}); err == nil || !strings.Contains(fmt.Sprint(err), "not found") {
		t.Error(err)
	}
}
