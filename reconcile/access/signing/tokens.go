package signing

import (
	"bytes"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	secretKind  = schema.GroupKind{Kind: "Secret"}
	accountKind = schema.GroupKind{Kind: "ServiceAccount"}
)

// TokenSecrets fills Secrets of the type kubernetes.io/service-account-token with a token of the service account that
// they name, and deletes those whose account is gone.
type TokenSecrets struct {
	Issuer *access.Issuer
	CA     []byte // PEM
}

// Name implements control.Controller.
func (TokenSecrets) Name() string { return "tokens-controller" }

// Owns implements control.Controller.
func (TokenSecrets) Owns() []control.Owned { return []control.Owned{{Kind: secretKind}} }

// Watches implements control.Controller.
func (TokenSecrets) Watches() []control.Watch {
	return []control.Watch{
		{Kind: secretKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			if secret, ok := c.New.(*corev1.Secret); !ok || secret.Type != corev1.SecretTypeServiceAccountToken {
				return nil
			}
			return []store.Key{s.Key(c.New)}
		}},
		{Kind: accountKind, Keys: func(s *store.Snapshot, c store.Change) []store.Key {
			if c.New != nil && c.Old != nil {
				return nil
			}
			var keys []store.Key
			for secret := range store.List[*corev1.Secret](s, store.InNamespace(c.Object().GetNamespace())) {
				if secret.Type == corev1.SecretTypeServiceAccountToken && secret.Annotations[corev1.ServiceAccountNameKey] == c.Object().GetName() {
					keys = append(keys, s.Key(secret))
				}
			}
			return keys
		}},
	}
}

// Plan implements control.Controller.
func (t TokenSecrets) Plan(w control.World, key store.Key) (control.Plan, error) {
	var p control.Plan
	secret, ok := store.Get[*corev1.Secret](w.Snapshot, key.Namespace, key.Name)
	if !ok || secret.DeletionTimestamp != nil || secret.Type != corev1.SecretTypeServiceAccountToken {
		return p, nil
	}
	account, ok := store.Get[*corev1.ServiceAccount](w.Snapshot, key.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])
	uid := types.UID(secret.Annotations[corev1.ServiceAccountUIDKey])
	if !ok || uid != "" && uid != account.UID {
		p.Delete(secret, "its service account is gone")
		return p, nil
	}
	want := map[string][]byte{corev1.ServiceAccountRootCAKey: t.CA, corev1.ServiceAccountNamespaceKey: []byte(key.Namespace)}
	if len(secret.Data[corev1.ServiceAccountTokenKey]) == 0 {
		token, err := t.Issuer.ForSecret(account, secret.Name)
		if err != nil {
			return p, err
		}
		want[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	complete := uid != ""
	for k, v := range want {
		complete = complete && bytes.Equal(secret.Data[k], v)
	}
	if complete {
		return p, nil
	}
	next := secret.DeepCopy()
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	maps.Copy(next.Data, want)
	next.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	p.Update(next, "it asks for a token")
	return p, nil
}
