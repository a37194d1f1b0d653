package scheme

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// newRuntime registers the kinds under their version and, with the same Go type, under the internal one that
// k8s.io/apiserver works on: so nothing has to be converted.
func newRuntime(kinds []*Kind) *runtime.Scheme {
	r := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, admissionregistrationv1.AddToScheme, appsv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme,
		autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, certificatesv1.AddToScheme, coordinationv1.AddToScheme,
		discoveryv1.AddToScheme, eventsv1.AddToScheme, flowcontrolv1.AddToScheme, networkingv1.AddToScheme, nodev1.AddToScheme, policyv1.AddToScheme,
		rbacv1.AddToScheme, schedulingv1.AddToScheme, storagev1.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme, metrics.AddToScheme, metainternal.AddToScheme, addOwn,
	} {
		must(add(r))
	}
	for _, k := range kinds {
		for _, name := range []string{k.Kind, k.Kind + "List"} {
			hub(r, k.GroupVersion().WithKind(name))
		}
		list := k.GroupVersion().WithKind(k.Kind + "List")
		k.NewList = func() runtime.Object {
			o, err := r.New(list)
			must(err)
			return o
		}
		r.AddTypeDefaultingFunc(k.New(), func(o any) { k.Default(o.(store.Object)) })
		must(r.AddFieldLabelConversionFunc(k.GroupVersionKind, k.fieldLabel))
		for _, v := range k.Versions {
			v.register(r, k)
		}
	}
	for _, versions := range groups(kinds) {
		must(r.SetVersionPriority(versions...))
	}
	for _, gvk := range []schema.GroupVersionKind{
		core("Binding"), core("ComponentStatus"), core("ComponentStatusList"), autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		policyv1.SchemeGroupVersion.WithKind("Eviction"), authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"),
		authenticationv1.SchemeGroupVersion.WithKind("TokenReview"), authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview"),
		authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview"), authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview"),
		authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"), authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview"),
	} {
		hub(r, gvk)
	}
	for _, name := range []string{"NodeMetrics", "NodeMetricsList", "PodMetrics", "PodMetricsList"} {
		hub(r, metrics.SchemeGroupVersion.WithKind(name))
	}
	must(r.SetVersionPriority(metrics.SchemeGroupVersion))
	addQueries(r)
	return r
}

// must is for mistakes in the program, which show at its first start.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("scheme: %v", err))
	}
}

func addOwn(r *runtime.Scheme) error {
	r.AddKnownTypes(v1alpha1.GroupVersion, &v1alpha1.GitSource{}, &v1alpha1.GitSourceList{}, &v1alpha1.Inventory{}, &v1alpha1.InventoryList{})
	metav1.AddToGroupVersion(r, v1alpha1.GroupVersion)
	return nil
}

func hub(r *runtime.Scheme, gvk schema.GroupVersionKind) {
	o, err := r.New(gvk)
	must(err)
	r.AddKnownTypeWithName(schema.GroupVersionKind{Group: gvk.Group, Version: runtime.APIVersionInternal, Kind: gvk.Kind}, o)
}

// fieldLabel says which fields a field selector may name.
func (k *Kind) fieldLabel(label, value string) (string, string, error) {
	switch {
	case label == "metadata.name", label == "metadata.namespace" && k.Namespaced, slices.Contains(k.labels, label):
		return label, value, nil
	}
	return "", "", fmt.Errorf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", label)
}

// podLogOptions reads the query of a request for logs.
func podLogOptions(in, out any, _ conversion.Scope) error {
	q, o := *in.(*url.Values), out.(*corev1.PodLogOptions)
	o.Container, o.Stream = q.Get("container"), nil
	if s := q.Get("stream"); s != "" {
		o.Stream = &s
	}
	for name, to := range map[string]*bool{
		"follow": &o.Follow, "previous": &o.Previous, "timestamps": &o.Timestamps,
		"insecureSkipTLSVerifyBackend": &o.InsecureSkipTLSVerifyBackend,
	} {
		*to = flag(q, name)
	}
	for name, to := range map[string]**int64{"sinceSeconds": &o.SinceSeconds, "tailLines": &o.TailLines, "limitBytes": &o.LimitBytes} {
		if v := q.Get(name); v != "" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return fmt.Errorf("read the query: %s=%s: not a number", name, v)
			}
			*to = &n
		}
	}
	if v := q.Get("sinceTime"); v != "" {
		o.SinceTime = &metav1.Time{}
		if err := o.SinceTime.UnmarshalQueryParameter(v); err != nil {
			return fmt.Errorf("read the query: sinceTime: %w", err)
		}
	}
	return nil
}
