package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
)

// Reviews serve the questions of authentication.k8s.io, which are answered and not kept, by their resource.
func Reviews(who authenticator.Request, now func() time.Time) map[string]rest.Storage {
	return map[string]rest.Storage{
		"tokenreviews":       &tokenReviews{question: question{"tokenreview"}, who: who},
		"selfsubjectreviews": &selfReviews{question: question{"selfsubjectreview"}, now: now},
	}
}

// question is what all of them have in common.
type question struct{ singular string }

// Destroy implements rest.Storage.
func (question) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (question) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (q question) GetSingularName() string { return q.singular }

// tokenReviews tell who bears a token.
type tokenReviews struct {
	question
	who authenticator.Request
}

// New implements rest.Storage.
func (*tokenReviews) New() runtime.Object { return &authenticationv1.TokenReview{} }

// Create implements rest.Creater.
func (t *tokenReviews) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	r := o.(*authenticationv1.TokenReview)
	if r.Namespace != "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("namespace is not allowed on this type: %v", r.Namespace))
	}
	if r.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	if err := validate(ctx, r.DeepCopy()); err != nil {
		return nil, err
	}
	audiences := authenticator.Audiences(r.Spec.Audiences)
	if len(audiences) == 0 {
		audiences = authenticator.Audiences{access.IssuerName}
	}
	ask := (&http.Request{URL: &url.URL{}, Header: http.Header{"Authorization": {"Bearer " + r.Spec.Token}}}).WithContext(authenticator.WithAudiences(ctx, audiences))
	found, ok, err := t.who.AuthenticateRequest(ask)
	r.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
	if err != nil {
		r.Status.Error = err.Error()
	}
	if ok {
		r.Status.User = userInfo(found.User)
		r.Status.Audiences = found.Audiences
	}
	return r, nil
}

// selfReviews tell those who ask who they are.
type selfReviews struct {
	question
	now func() time.Time
}

// New implements rest.Storage.
func (*selfReviews) New() runtime.Object { return &authenticationv1.SelfSubjectReview{} }

// Create implements rest.Creater.
func (s *selfReviews) Create(ctx context.Context, o runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if err := validate(ctx, o.DeepCopyObject()); err != nil {
		return nil, err
	}
	u, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(s.now())},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(u)},
	}, nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for k, v := range u.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[k] = v
	}
	return info
}
