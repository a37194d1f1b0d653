package api

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// warningsHeard keeps the warnings that a client is sent.
type warningsHeard struct {
	mu    sync.Mutex
	texts []string
}

func (w *warningsHeard) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warningsHeard) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

func simplePod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "x"}}}}
}

func TestAPodIsLimitedAsItsNamespaceSays(t *testing.T) {
	c := serve(t)
	k := c.client(t).CoreV1()
	_, err := k.LimitRanges("default").Create(t.Context(), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")},
	}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Pods("default").Create(t.Context(), simplePod("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := p.Spec.Containers[0].Resources
	if r.Requests.Cpu().String() != "500m" || r.Limits.Cpu().String() != "500m" || p.Status.QOSClass != corev1.PodQOSBurstable {
		t.Errorf("%+v, %s", r, p.Status.QOSClass)
	}
	big := simplePod("b")
	big.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	_, err = k.Pods("default").Create(t.Context(), big, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "maximum cpu usage per Container is 500m, but limit is 2") {
		t.Error(err)
	}
}

func TestAPodIsWorthWhatItsPriorityClassSays(t *testing.T) {
	c := serve(t)
	k := c.client(t)
	if _, err := k.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 7}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := simplePod("a")
	p.Spec.PriorityClassName = "high"
	p, err := k.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil || p.Spec.Priority == nil || *p.Spec.Priority != 7 || *p.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("%v: %+v", err, p.Spec)
	}
	low := simplePod("b")
	low.Spec.PriorityClassName = "low"
	if _, err := k.CoreV1().Pods("default").Create(t.Context(), low, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
}

func TestAQuotaHoldsAgainstManyAtOnceAndInADryRun(t *testing.T) {
	c := serve(t)
	k := c.client(t).CoreV1()
	_, err := k.ResourceQuotas("default").Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("4"), corev1.ResourceServices: resource.MustParse("1")}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			_, err := k.ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{})
			switch {
			case err == nil:
				made.Add(1)
			case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=4, limited: count/configmaps=4"):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 4 || refused.Load() != 8 {
		t.Errorf("%d made, %d refused", made.Load(), refused.Load())
	}
	q, err := k.ResourceQuotas("default").Get(t.Context(), "q", metav1.GetOptions{})
	if used := q.Status.Used["count/configmaps"]; err != nil || used.Value() != 4 {
		t.Errorf("%v, used %s", err, used.String())
	}
	_, err = k.ConfigMaps("default").Create(t.Context(), configMap("dry", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a dry run: %v", err)
	}
}

func TestPodSecurityRefusesAndWarns(t *testing.T) {
	c := serve(t)
	heard := &warningsHeard{}
	config := c.admin(t)
	config.WarningHandler = heard
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	k := client.CoreV1()
	if _, err := k.Pods("default").Create(t.Context(), simplePod("before"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = k.Namespaces().Patch(t.Context(), "default", types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if texts := heard.take(); len(texts) != 2 || !strings.Contains(texts[1], "before") {
		t.Errorf("the label warned of %q", texts)
	}
	_, err = k.Pods("default").Create(t.Context(), simplePod("a"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), `pods "a" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`) {
		t.Error(err)
	}
	d := deployment("d", 1)
	if _, err := client.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if texts := heard.take(); len(texts) != 1 || !strings.HasPrefix(texts[0], `would violate PodSecurity "restricted:latest"`) {
		t.Errorf("what would make such pods is only warned of: %q", texts)
	}
}
