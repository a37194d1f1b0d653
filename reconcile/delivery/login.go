package delivery

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// ErrNoSecret: the Secret that a source logs in with is not there.
var ErrNoSecret = errors.New("no such Secret")

// loginSecret is the Secret that g logs in with; nil if it needs none.
func loginSecret(s *store.Snapshot, g *v1alpha1.GitSource) (store.Object, error) {
	if g.Spec.Auth == nil {
		return nil, nil
	}
	secret, ok := store.Get[*corev1.Secret](s, g.Namespace, g.Spec.Auth.SecretRef.Name)
	if !ok {
		return nil, fmt.Errorf("log in: %w: %s/%s", ErrNoSecret, g.Namespace, g.Spec.Auth.SecretRef.Name)
	}
	return secret, nil
}

// credentials reads the keys that Secrets for Git usually have.
func credentials(o store.Object) repo.Credentials {
	secret, ok := o.(*corev1.Secret)
	if !ok {
		return repo.Credentials{}
	}
	return repo.Credentials{
		Username: string(secret.Data["username"]), Password: string(secret.Data["password"]), Token: string(secret.Data["token"]),
		Identity: secret.Data["identity"], Passphrase: string(secret.Data["passphrase"]), KnownHosts: secret.Data["known_hosts"],
		CA: secret.Data["ca.crt"],
	}
}

// Secret returns what signs the requests to a source's webhook; false if it takes none.
func (d *Delivery) Secret(namespace, name string) ([]byte, bool) {
	s := d.Store.Snapshot()
	g, ok := store.Get[*v1alpha1.GitSource](s, namespace, name)
	if !ok || g.Spec.Webhook == nil {
		return nil, false
	}
	secret, ok := store.Get[*corev1.Secret](s, namespace, g.Spec.Webhook.Name)
	if !ok || len(secret.Data["token"]) == 0 {
		return nil, false
	}
	return secret.Data["token"], true
}
