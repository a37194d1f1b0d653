package agent

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// credentials are those of the pod's pull secrets that fit an image best: those for the longest beginning of its name. A
// secret that is not there, or makes no sense, is passed over.
func credentials(p *corev1.Pod, ref string, s *store.Snapshot) image.Auth {
	name, err := image.Normalize(ref)
	if err != nil {
		return image.Auth{}
	}
	best, found := -1, image.Auth{}
	for _, r := range p.Spec.ImagePullSecrets {
		secret, ok := store.Get[*corev1.Secret](s, p.Namespace, r.Name)
		if !ok {
			continue
		}
		for registry, auth := range registries(secret) {
			if fits(registry, name) && len(registry) > best {
				best, found = len(registry), auth
			}
		}
	}
	return found
}

// login is how docker keeps credentials.
type login struct {
	Username, Password string
	Auth               string // base64 of username:password
}

func registries(s *corev1.Secret) map[string]image.Auth {
	var logins map[string]login
	switch {
	case s.Data[corev1.DockerConfigJsonKey] != nil:
		var file struct{ Auths map[string]login }
		if json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &file) == nil {
			logins = file.Auths
		}
	case s.Data[corev1.DockerConfigKey] != nil:
		if json.Unmarshal(s.Data[corev1.DockerConfigKey], &logins) != nil {
			return nil
		}
	}
	auths := map[string]image.Auth{}
	for registry, l := range logins {
		if text, err := base64.StdEncoding.DecodeString(l.Auth); l.Auth != "" && err == nil {
			l.Username, l.Password, _ = strings.Cut(string(text), ":")
		}
		auths[trim(registry)] = image.Auth{Username: l.Username, Password: l.Password}
	}
	return auths
}

// trim reduces what docker calls a registry ("https://index.docker.io/v1/") to the beginning of an image's name.
func trim(registry string) string {
	for _, scheme := range []string{"https://", "http://"} {
		registry = strings.TrimPrefix(registry, scheme)
	}
	registry = strings.TrimSuffix(registry, "/")
	for _, version := range []string{"/v1", "/v2"} {
		registry = strings.TrimSuffix(registry, version)
	}
	if registry == "index.docker.io" || registry == "registry-1.docker.io" {
		return "docker.io"
	}
	return registry
}

// fits tells whether an image's name begins with a registry, and a path in it, as a whole. A star stands for one part of
// the host's name.
func fits(registry, name string) bool {
	host, path, _ := strings.Cut(registry, "/")
	is, rest, _ := strings.Cut(name, "/")
	want, have := strings.Split(host, "."), strings.Split(is, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != have[i] {
			return false
		}
	}
	return path == "" || rest == path || strings.HasPrefix(rest, path+"/") || strings.HasPrefix(rest, path+":") || strings.HasPrefix(rest, path+"@")
}
