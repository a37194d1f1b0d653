package agent

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// credentials are those of the pod's pull secrets that fit an image: first those for the longest beginning of its name, and
// of equal ones those of the secret that is named first. A secret that makes no sense is passed over; missing names those
// that are not there.
func credentials(p *corev1.Pod, ref string, s *store.Snapshot) (auths []image.Auth, missing []string) {
	name, err := image.Normalize(ref)
	if err != nil {
		return nil, nil
	}
	var fitting []entry
	for _, r := range p.Spec.ImagePullSecrets {
		secret, ok := store.Get[*corev1.Secret](s, p.Namespace, r.Name)
		if !ok {
			missing = append(missing, r.Name)
			continue
		}
		for _, e := range entries(secret) {
			if fits(e.registry, name) {
				fitting = append(fitting, e)
			}
		}
	}
	slices.SortStableFunc(fitting, func(a, b entry) int { return len(b.registry) - len(a.registry) })
	for _, e := range fitting {
		if !slices.Contains(auths, e.auth) {
			auths = append(auths, e.auth)
		}
	}
	return auths, missing
}

// An entry is what a secret says of one registry.
type entry struct {
	registry string // beginning of images' names
	auth     image.Auth
}

// login is how docker keeps credentials.
type login struct {
	Username, Password string
	Auth               string // base64 of username:password
	IdentityToken      string
}

func (l login) auth() image.Auth {
	if l.IdentityToken != "" {
		return image.Auth{Password: l.IdentityToken}
	}
	if text, err := base64.StdEncoding.DecodeString(l.Auth); l.Auth != "" && err == nil {
		l.Username, l.Password, _ = strings.Cut(strings.TrimRight(string(text), "\x00"), ":")
	}
	return image.Auth{Username: l.Username, Password: l.Password}
}

// entries are those of a secret of one of the two types that docker's files come in.
func entries(s *corev1.Secret) []entry {
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
	var all []entry
	for _, registry := range slices.Sorted(maps.Keys(logins)) {
		all = append(all, entry{trim(registry), logins[registry].auth()})
	}
	return all
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

// fits tells whether an image's name begins with a registry, and a path in it, as a whole. A pattern, as in *.example.com or
// registry-?.example.com, stands for one part of the host's name; the port is compared as it is.
func fits(registry, name string) bool {
	host, folder, _ := strings.Cut(registry, "/")
	is, rest, _ := strings.Cut(name, "/")
	host, port, _ := strings.Cut(host, ":")
	is, isPort, _ := strings.Cut(is, ":")
	want, have := strings.Split(host, "."), strings.Split(is, ".")
	if len(want) != len(have) || port != isPort {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); !ok || err != nil {
			return false
		}
	}
	return folder == "" || rest == folder || strings.HasPrefix(rest, folder+"/") || strings.HasPrefix(rest, folder+":") || strings.HasPrefix(rest, folder+"@")
}
