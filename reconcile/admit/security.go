package admit

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	podsecurity "k8s.io/pod-security-admission/admission"
	config "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// security is Pod Security: what a pod may ask of its node, by the labels of its namespace. Nobody is exempt. Its levels are
// put together when the first namespace asks for one.
type security struct {
	once      sync.Once
	evaluator policy.Evaluator
	err       error
}

func (y *security) levels() (policy.Evaluator, error) {
	y.once.Do(func() { y.evaluator, y.err = policy.NewEvaluator(policy.DefaultChecks(), nil) })
	return y.evaluator, y.err
}

// validate refuses pods that their namespace does not allow, and warns of them and of what would make such.
func (y *security) validate(s *store.Snapshot, r *Request) error {
	if !y.concerns(s, r) {
		return nil
	}
	levels, err := y.levels()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	all := config.PodSecurityDefaults{
		Enforce: string(api.LevelPrivileged), EnforceVersion: api.VersionLatest, Audit: string(api.LevelPrivileged), AuditVersion: api.VersionLatest,
		Warn: string(api.LevelPrivileged), WarnVersion: api.VersionLatest,
	}
	look := &podsecurity.Admission{
		Configuration: &config.PodSecurityConfiguration{Defaults: all}, Evaluator: levels, Metrics: uncounted{},
		PodSpecExtractor: podsecurity.DefaultPodSpecExtractor{}, NamespaceGetter: state{s}, PodLister: state{s},
	}
	if err := look.CompleteConfiguration(); err != nil {
		return apierrors.NewInternalError(err)
	}
	return y.answer(r, look.Validate(context.Background(), attributes{r}))
}

// concerns tells whether r is about a pod or what makes some, in a namespace that asks for a level; or about such a namespace.
func (*security) concerns(s *store.Snapshot, r *Request) bool {
	group := r.Resource.GroupResource()
	switch {
	case r.Operation != Create && r.Operation != Update:
		return false
	case group == schema.GroupResource{Resource: "namespaces"}:
		return true
	case !podsecurity.DefaultPodSpecExtractor{}.HasPodSpec(group):
		return false
	case group != schema.GroupResource{Resource: "pods"} && r.Warn == nil && r.Note == nil:
		return false // only warnings would come of it
	}
	ns, ok := store.Get[*corev1.Namespace](s, "", r.Namespace)
	if !ok {
		return false
	}
	for label := range ns.Labels {
		if strings.HasPrefix(label, "pod-security.kubernetes.io/") {
			return true
		}
	}
	return false
}

func (*security) answer(r *Request, a *admissionv1.AdmissionResponse) error {
	for _, w := range a.Warnings {
		if r.Warn != nil {
			r.Warn(w)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a.AuditAnnotations)) {
		if r.Note != nil {
			r.Note(api.AuditAnnotationPrefix+key, a.AuditAnnotations[key])
		}
	}
	if a.Allowed {
		return nil
	}
	err := r.forbid(errors.New("Not allowed by PodSecurity")) //lint:ignore ST1005 Kubernetes' words
	if why := a.Result; why != nil {
		if why.Message != "" {
			err.ErrStatus.Message = why.Message
		}
		if why.Reason != "" {
			err.ErrStatus.Reason = why.Reason
		}
		if why.Details != nil {
			err.ErrStatus.Details = why.Details
		}
		if why.Code != 0 {
			err.ErrStatus.Code = why.Code
		}
	}
	return err
}

// attributes shows a request as Pod Security wants it.
type attributes struct{ r *Request }

func (a attributes) GetName() string                          { return a.r.Name }
func (a attributes) GetNamespace() string                     { return a.r.Namespace }
func (a attributes) GetResource() schema.GroupVersionResource { return a.r.Resource }
func (a attributes) GetKind() schema.GroupVersionKind         { return a.r.Kind }
func (a attributes) GetSubresource() string                   { return a.r.Subresource }
func (a attributes) GetOperation() admissionv1.Operation      { return admissionv1.Operation(a.r.Operation) }
func (a attributes) GetObject() (runtime.Object, error)       { return a.r.Object, nil }
func (a attributes) GetOldObject() (runtime.Object, error)    { return a.r.Old, nil }
func (a attributes) GetUserName() string {
	if a.r.User == nil {
		return ""
	}
	return a.r.User.GetName()
}

// state is a snapshot as Pod Security wants it.
type state struct{ *store.Snapshot }

func (s state) GetNamespace(_ context.Context, name string) (*corev1.Namespace, error) {
	ns, ok := store.Get[*corev1.Namespace](s.Snapshot, "", name)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
	}
	return ns, nil
}

func (s state) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	return slices.Collect(store.List[*corev1.Pod](s.Snapshot, store.InNamespace(namespace))), nil
}

// uncounted keeps no metrics.
type uncounted struct{}

func (uncounted) RecordEvaluation(metrics.Decision, api.LevelVersion, metrics.Mode, api.Attributes) {}
func (uncounted) RecordExemption(api.Attributes)                                                    {}
func (uncounted) RecordError(bool, api.Attributes)                                                  {}
