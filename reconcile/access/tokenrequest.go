package access

import (
	"fmt"
	"math"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	usualSeconds   = 3600
	secondsAtLeast = 600
)

// Grant answers a request for a token of a service account: it fills in what the request leaves out, and the status. An
// error is an API status, in the words of Kubernetes.
func (i *Issuer) Grant(s *store.Snapshot, account *corev1.ServiceAccount, r *authenticationv1.TokenRequest) error {
	spec := &r.Spec
	if spec.ExpirationSeconds == nil {
		seconds := int64(usualSeconds)
		spec.ExpirationSeconds = &seconds
	}
	if len(spec.Audiences) == 0 {
		spec.Audiences = []string{IssuerName}
	}
	if errs := checkRequest(spec); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: authenticationv1.GroupName, Kind: "TokenRequest"}, r.Name, errs)
	}
	who := private{Namespace: account.Namespace, Account: *name(account)}
	if spec.BoundObjectRef != nil {
		if err := who.bind(s, spec.BoundObjectRef); err != nil {
			return err
		}
	}
	token, expires, err := i.sign(who, spec.Audiences, time.Duration(*spec.ExpirationSeconds)*time.Second)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	r.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	return nil
}

func checkRequest(spec *authenticationv1.TokenRequestSpec) field.ErrorList {
	path := field.NewPath("spec", "expirationSeconds")
	switch seconds := *spec.ExpirationSeconds; {
	case seconds < secondsAtLeast:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration less than 10 minutes")}
	case seconds > math.MaxUint32:
		return field.ErrorList{field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

// bind has the token end with an object.
func (p *private) bind(s *store.Snapshot, ref *authenticationv1.BoundObjectReference) (err error) {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	if gvk.Group != "" || gvk.Version != "v1" {
		return cannotBind(ref)
	}
	switch gvk.Kind {
	case "Pod":
		return p.bindPod(s, ref)
	case "Secret":
		p.Secret, err = find[*corev1.Secret](s, p.Namespace, "secrets", ref)
	case "Node":
		p.Node, err = find[*corev1.Node](s, "", "nodes", ref)
	default:
		return cannotBind(ref)
	}
	return err
}

func cannotBind(ref *authenticationv1.BoundObjectReference) error {
	return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to a %s (%s): only to a Pod, a Secret or a Node (v1)", ref.Kind, ref.APIVersion))
}

func (p *private) bindPod(s *store.Snapshot, ref *authenticationv1.BoundObjectReference) (err error) {
	if p.Pod, err = find[*corev1.Pod](s, p.Namespace, "pods", ref); err != nil {
		return err
	}
	pod, _ := store.Get[*corev1.Pod](s, p.Namespace, ref.Name)
	if pod.Spec.ServiceAccountName != p.Account.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", p.Account.Name))
	}
	if n, ok := store.Get[*corev1.Node](s, "", pod.Spec.NodeName); ok {
		p.Node = name(n)
	}
	return nil
}

func find[T store.Object](s *store.Snapshot, namespace, resource string, ref *authenticationv1.BoundObjectReference) (*named, error) {
	o, ok := store.Get[T](s, namespace, ref.Name)
	r := schema.GroupResource{Resource: resource}
	switch {
	case !ok:
		return nil, apierrors.NewNotFound(r, ref.Name)
	case ref.UID != "" && types.UID(ref.UID) != o.GetUID():
		return nil, apierrors.NewConflict(r, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return name(o), nil
}
