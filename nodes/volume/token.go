package volume

import (
	"errors"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Tokens makes the tokens with which pods say who they are.
type Tokens interface {
	// ForPod is a token of p's service account, as want asks for one. What the pod had before is returned again while it
	// is good and young enough. renew is when to ask for the next.
	ForPod(s *store.Snapshot, p *corev1.Pod, want *corev1.ServiceAccountTokenProjection, old string) (token string, renew time.Time, err error)
}

// making is what the volumes of a pod have in common while they are made.
type making struct {
	group *int64    // may read, and write where containers may; nil: none in particular
	owner *int64    // whom all containers run as; nil: different ones, or the image says it
	again time.Time // when the first token gets old
}

// token adds a token. It is readable by those alone who are known to run in the pod, or by all if nobody is.
func (c content) token(p *corev1.Pod, want *corev1.ServiceAccountTokenProjection, mode int32, w World, old string, m *making) error {
	if w.Tokens == nil {
		return errors.New("there are no tokens of service accounts here")
	}
	token, renew, err := w.Tokens.ForPod(w.Snapshot, p, want, old)
	if err != nil {
		return err
	}
	if m.again.IsZero() || renew.Before(m.again) {
		m.again = renew
	}
	if m.owner != nil || m.group != nil {
		mode = 0o600
	}
	if err := c.put(want.Path, []byte(token), mode); err != nil {
		return err
	}
	path := filepath.Clean(want.Path)
	f := c[path]
	f.owner = m.owner
	c[path] = f
	return nil
}

func groupOf(p *corev1.Pod) *int64 {
	if p.Spec.SecurityContext == nil {
		return nil
	}
	return p.Spec.SecurityContext.FSGroup
}

// userOf is the user that all containers of a pod run as; nil if they differ, or do not say.
func userOf(p *corev1.Pod) *int64 {
	var all *int64
	if p.Spec.SecurityContext != nil {
		all = p.Spec.SecurityContext.RunAsUser
	}
	var one *int64
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			user := all
			if s := containers[i].SecurityContext; s != nil && s.RunAsUser != nil {
				user = s.RunAsUser
			}
			if user == nil || one != nil && *one != *user {
				return nil
			}
			one = user
		}
	}
	return one
}
