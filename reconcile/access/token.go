package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	tokenjwt "k8s.io/apiserver/pkg/authentication/token/jwt"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// afterlife is how long a token is still good after the deletion of what it is bound to began, as in Kubernetes: what ends
// may have something to say.
const afterlife = time.Minute

// claims are what a token says, laid out as Kubernetes does.
type claims struct {
	jwt.Claims
	Audience   []string `json:"aud"` // always a list
	Kubernetes private  `json:"kubernetes.io"`
}

type private struct {
	Namespace string `json:"namespace"`
	Node      *named `json:"node,omitempty"`
	Pod       *named `json:"pod,omitempty"`
	Secret    *named `json:"secret,omitempty"`
	Account   named  `json:"serviceaccount"`
}

// named is an object, and none that took its name later.
type named struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

func name(o store.Object) *named { return &named{o.GetName(), o.GetUID()} }

// sign makes a token that says who, for audiences and a time.
func (i *Issuer) sign(who private, audiences []string, life time.Duration) (token string, expires time.Time, err error) {
	now := i.now()
	c := claims{Kubernetes: who, Audience: audiences, Claims: jwt.Claims{
		ID: string(uuid.NewUUID()), Issuer: IssuerName, Subject: serviceaccount.MakeUsername(who.Namespace, who.Account.Name),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
	}}
	token, err = jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign a token of %s: %w", c.Subject, err)
	}
	return token, c.Expiry.Time(), nil
}

// errForeign: a token is somebody else's, or none at all.
var errForeign = errors.New("it is not a token of this cluster's service accounts")

// read is what token says, if it is one of ours and good at this time. What it is bound to is not looked at.
func (i *Issuer) read(token string) (*claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errForeign
	}
	c := &claims{}
	if err := parsed.UnsafeClaimsWithoutVerification(c); err != nil || c.Issuer != IssuerName {
		return nil, errForeign
	}
	if err := parsed.Claims(i.keys, c); err != nil {
		return nil, fmt.Errorf("its signature is not that of this cluster: %w", err)
	}
	if c.Expiry == nil {
		return nil, errors.New("it does not say when it expires")
	}
	return c, c.Validate(jwt.Expected{Issuer: IssuerName, Time: i.now()})
}

// bound tells why a token is not good any more: what it is bound to is gone, or another one of the same name.
func (c *claims) bound(s *store.Snapshot, now time.Time) error {
	k := &c.Kubernetes
	if c.Subject != serviceaccount.MakeUsername(k.Namespace, k.Account.Name) {
		return errors.New("it contradicts itself about its service account")
	}
	if err := still[*corev1.ServiceAccount](s, k.Namespace, &k.Account, now); err != nil {
		return fmt.Errorf("its service account %w", err)
	}
	if err := still[*corev1.Secret](s, k.Namespace, k.Secret, now); err != nil {
		return fmt.Errorf("its secret %w", err)
	}
	if k.Pod != nil {
		if err := still[*corev1.Pod](s, k.Namespace, k.Pod, now); err != nil {
			return fmt.Errorf("its pod %w", err)
		}
		return nil // which says on which node it is
	}
	if err := still[*corev1.Node](s, "", k.Node, now); err != nil {
		return fmt.Errorf("its node %w", err)
	}
	return nil
}

// still tells whether an object is still there, and the same one.
func still[T store.Object](s *store.Snapshot, namespace string, n *named, now time.Time) error {
	if n == nil {
		return nil
	}
	o, ok := store.Get[T](s, namespace, n.Name)
	switch {
	case !ok:
		return fmt.Errorf("%s/%s is gone", namespace, n.Name)
	case o.GetUID() != n.UID:
		return fmt.Errorf("%s/%s was made anew since", namespace, n.Name)
	case o.GetDeletionTimestamp() != nil && now.After(o.GetDeletionTimestamp().Add(afterlife)):
		return fmt.Errorf("%s/%s has been deleted", namespace, n.Name)
	}
	return nil
}

// Authenticator knows who bears a token of the issuer, by what the state says when it is asked.
func (i *Issuer) Authenticator(state func() *store.Snapshot) authenticator.Token {
	return authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		wanted, ok := authenticator.AudiencesFrom(ctx)
		if !ok {
			wanted = authenticator.Audiences{IssuerName}
		}
		c, err := i.read(token)
		if errors.Is(err, errForeign) {
			known, err := i.legacy(state(), token, wanted)
			if errors.Is(err, errForeign) {
				err = nil
			}
			return known, known != nil, err
		} else if err != nil {
			return nil, false, err
		}
		heard := authenticator.Audiences(c.Audience).Intersect(wanted)
		if len(heard) == 0 {
			return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", c.Audience, wanted)
		}
		if err := c.bound(state(), i.now()); err != nil {
			return nil, false, err
		}
		return &authenticator.Response{User: c.user().UserInfo(), Audiences: heard}, true, nil
	})
}

func (c *claims) user() *serviceaccount.ServiceAccountInfo {
	k := &c.Kubernetes
	u := &serviceaccount.ServiceAccountInfo{
		Namespace: k.Namespace, Name: k.Account.Name, UID: string(k.Account.UID), CredentialID: tokenjwt.CredentialIDForJTI(c.ID),
	}
	if k.Pod != nil {
		u.PodName, u.PodUID = k.Pod.Name, string(k.Pod.UID)
	}
	if k.Node != nil {
		u.NodeName, u.NodeUID = k.Node.Name, string(k.Node.UID)
	}
	return u
}

// A token in a pod is renewed when four fifths of its life are over, and after a day at the latest.
const renewAfter = 24 * time.Hour

func renewal(c *claims) time.Time {
	begun := c.IssuedAt.Time()
	life := c.Expiry.Time().Sub(begun)
	return begun.Add(min(life*4/5, renewAfter))
}

// ForPod is a token for the service account of a pod, bound to that pod, as a volume of it asks for. What the pod had
// before is returned again while it is good and young enough. renew is when to ask for the next.
func (i *Issuer) ForPod(s *store.Snapshot, p *corev1.Pod, want *corev1.ServiceAccountTokenProjection, old string) (token string, renew time.Time, err error) {
	audiences, life := []string{IssuerName}, time.Hour
	if want.Audience != "" {
		audiences = []string{want.Audience}
	}
	if want.ExpirationSeconds != nil {
		life = time.Duration(*want.ExpirationSeconds) * time.Second
	}
	if c, err := i.read(old); err == nil && c.Kubernetes.Pod != nil && c.Kubernetes.Pod.UID == p.UID && slices.Equal(c.Audience, audiences) &&
		c.bound(s, i.now()) == nil && i.now().Before(renewal(c)) {
		return old, renewal(c), nil
	}
	account, ok := store.Get[*corev1.ServiceAccount](s, p.Namespace, p.Spec.ServiceAccountName)
	if !ok {
		return "", time.Time{}, fmt.Errorf("serviceaccount %q not found", p.Spec.ServiceAccountName)
	}
	who := private{Namespace: p.Namespace, Account: *name(account), Pod: name(p)}
	if n, ok := store.Get[*corev1.Node](s, "", p.Spec.NodeName); ok {
		who.Node = name(n)
	}
	token, expires, err := i.sign(who, audiences, life)
	if err != nil {
		return "", time.Time{}, err
	}
	now := i.now()
	return token, now.Add(min(expires.Sub(now)*4/5, renewAfter)), nil
}
