package admit

import (
	"fmt"
	"hash/fnv"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	// DefaultAccount is the service account of pods that name none. Each namespace has it.
	DefaultAccount = "default"
	// RootCA is the ConfigMap in each namespace with the certificate of the authority that the API's is signed by.
	RootCA = "kube-root-ca.crt"
	// RootCAKey is where in the ConfigMap it stands.
	RootCAKey = "ca.crt"

	accessPrefix  = "kube-api-access-"
	accessPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	accessSeconds = 3607
)

// serviceAccount gives a new pod, which has a UID, what its service account brings it: the token and the certificate with
// which it reaches the API, and secrets to pull images with. Who says no is left alone. It refuses an account that is not
// there; that of a namespace may yet come.
func serviceAccount(s *store.Snapshot, r *Request) error {
	p := r.pod()
	if p == nil || r.Operation != Create {
		return nil
	}
	account, err := accountOf(s, p)
	if err != nil {
		return err
	}
	if len(p.Spec.ImagePullSecrets) == 0 && account != nil {
		p.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	if mountsAccess(p, account) {
		mountAccess(p)
	}
	return nil
}

// accountOf is the service account of a pod; nil: that of its namespace, which is not there yet.
func accountOf(s *store.Snapshot, p *corev1.Pod) (*corev1.ServiceAccount, error) {
	name := p.Spec.ServiceAccountName
	if name == "" {
		name = DefaultAccount
	}
	account, ok := store.Get[*corev1.ServiceAccount](s, p.Namespace, name)
	if !ok && name != DefaultAccount {
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, p.Name,
			fmt.Errorf("error looking up service account %s/%s: serviceaccount %q not found", p.Namespace, name, name))
	}
	return account, nil
}

// mountsAccess: the pod decides, then its account, and who says nothing wants it.
func mountsAccess(p *corev1.Pod, account *corev1.ServiceAccount) bool {
	switch {
	case p.Spec.AutomountServiceAccountToken != nil:
		return *p.Spec.AutomountServiceAccountToken
	case account != nil && account.AutomountServiceAccountToken != nil:
		return *account.AutomountServiceAccountToken
	}
	return true
}

// mountAccess mounts the way to the API in each container that has nothing in its place.
func mountAccess(p *corev1.Pod) {
	name := accessPrefix + suffix(string(p.UID))
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; v.Projected != nil && len(v.Name) > len(accessPrefix) && v.Name[:len(accessPrefix)] == accessPrefix {
			name = v.Name // it was given before
		}
	}
	needed := false
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == accessPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: accessPath})
			needed = true
		}
	}
	if needed && !slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name }) {
		p.Spec.Volumes = append(p.Spec.Volumes, accessVolume(name))
	}
}

// suffix makes of a UID, which came by chance, letters as Kubernetes puts them at the end of names.
func suffix(uid string) string {
	h := fnv.New32a()
	h.Write([]byte(uid))
	return rand.SafeEncodeString(fmt.Sprintf("%010d", h.Sum32()))[5:]
}

func accessVolume(name string) corev1.Volume {
	mode, seconds := int32(0o644), int64(accessSeconds)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: RootCA},
				Items:                []corev1.KeyToPath{{Key: RootCAKey, Path: RootCAKey}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}}}
}
