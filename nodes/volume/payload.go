package volume

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// file is one of a volume that is made from objects of the cluster.
type file struct {
	data  []byte
	mode  int32
	owner *int64 // nil: root
}

// content is what such a volume holds, by path.
type content map[string]file

const defaultMode int32 = 0o644

// Refs are the objects that the volumes of p are made from.
func Refs(p *corev1.Pod, k store.Kinds) []store.Key {
	var keys []store.Key
	account := func() {
		keys = append(keys, k.Key(&corev1.ServiceAccount{ObjectMeta: meta(p.Namespace, p.Spec.ServiceAccountName)}))
	}
	configMap := func(name string) {
		keys = append(keys, k.Key(&corev1.ConfigMap{ObjectMeta: meta(p.Namespace, name)}))
	}
	secret := func(name string) { keys = append(keys, k.Key(&corev1.Secret{ObjectMeta: meta(p.Namespace, name)})) }
	for i := range p.Spec.Volumes {
		if name := claimName(p, &p.Spec.Volumes[i]); name != "" {
			keys = append(keys, k.Key(&corev1.PersistentVolumeClaim{ObjectMeta: meta(p.Namespace, name)}))
		}
		switch s := &p.Spec.Volumes[i].VolumeSource; {
		case s.ConfigMap != nil:
			configMap(s.ConfigMap.Name)
		case s.Secret != nil:
			secret(s.Secret.SecretName)
		case s.Projected != nil:
			for _, q := range s.Projected.Sources {
				if q.ConfigMap != nil {
					configMap(q.ConfigMap.Name)
				} else if q.Secret != nil {
					secret(q.Secret.Name)
				} else if q.ServiceAccountToken != nil {
					account()
				}
			}
		}
	}
	return keys
}

// Version changes when what the volumes of p are made from does.
func Version(p *corev1.Pod, s *store.Snapshot) string {
	var b strings.Builder
	for _, k := range Refs(p, s.Kinds()) {
		if o, ok := s.Get(k); ok {
			b.WriteString(o.GetResourceVersion())
		}
		b.WriteByte(' ')
	}
	if showsPod(p) {
		for _, m := range []map[string]string{p.Labels, p.Annotations} {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				fmt.Fprintf(&b, "%q=%q ", k, m[k])
			}
		}
	}
	return b.String()
}

// showsPod tells whether a volume shows something of the pod itself.
func showsPod(p *corev1.Pod) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.DownwardAPI != nil {
			return true
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.DownwardAPI != nil {
					return true
				}
			}
		}
	}
	return false
}

// payload is what a volume holds. Tokens that it held before, by path, are kept as long as they are good.
func payload(p *corev1.Pod, vol *corev1.Volume, w World, held func(string) string, m *making) (content, error) {
	c := content{}
	switch s := &vol.VolumeSource; {
	case s.ConfigMap != nil:
		return c, c.configMap(w, p.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, mode(s.ConfigMap.DefaultMode), s.ConfigMap.Optional)
	case s.Secret != nil:
		return c, c.secret(w, p.Namespace, s.Secret.SecretName, s.Secret.Items, mode(s.Secret.DefaultMode), s.Secret.Optional)
	case s.DownwardAPI != nil:
		return c, c.downward(p, s.DownwardAPI.Items, mode(s.DownwardAPI.DefaultMode), w)
	case s.Projected != nil:
		bits := mode(s.Projected.DefaultMode)
		for i := range s.Projected.Sources {
			if t := s.Projected.Sources[i].ServiceAccountToken; t != nil {
				if err := c.token(p, t, bits, w, held(filepath.Clean(t.Path)), m); err != nil {
					return nil, err
				}
			} else if err := c.project(p, &s.Projected.Sources[i], bits, w); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (c content) project(p *corev1.Pod, s *corev1.VolumeProjection, m int32, w World) error {
	switch {
	case s.ConfigMap != nil:
		return c.configMap(w, p.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, m, s.ConfigMap.Optional)
	case s.Secret != nil:
		return c.secret(w, p.Namespace, s.Secret.Name, s.Secret.Items, m, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return c.downward(p, s.DownwardAPI.Items, m, w)
	}
	return fmt.Errorf("this kind of projection is not supported yet")
}

func mode(m *int32) int32 {
	if m == nil {
		return defaultMode
	}
	return *m
}

func (c content) configMap(w World, ns, name string, items []corev1.KeyToPath, m int32, optional *bool) error {
	o, ok := store.Get[*corev1.ConfigMap](w.Snapshot, ns, name)
	may := optional != nil && *optional
	switch {
	case !ok && may:
		return nil
	case !ok:
		return fmt.Errorf("configmap %q not found", name)
	}
	data := make(map[string][]byte, len(o.Data)+len(o.BinaryData))
	for k, v := range o.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, o.BinaryData)
	return c.keys(data, "configmap "+name, items, m, may)
}

func (c content) secret(w World, ns, name string, items []corev1.KeyToPath, m int32, optional *bool) error {
	o, ok := store.Get[*corev1.Secret](w.Snapshot, ns, name)
	may := optional != nil && *optional
	switch {
	case !ok && may:
		return nil
	case !ok:
		return fmt.Errorf("secret %q not found", name)
	}
	return c.keys(o.Data, "secret "+name, items, m, may)
}

// keys puts in what items name, or all if there are none.
func (c content) keys(data map[string][]byte, of string, items []corev1.KeyToPath, m int32, optional bool) error {
	if len(items) == 0 {
		for k, v := range data {
			if err := c.put(k, v, m); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range items {
		v, ok := data[i.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf("%s has no key %q", of, i.Key)
		}
		own := m
		if i.Mode != nil {
			own = *i.Mode
		}
		if err := c.put(i.Path, v, own); err != nil {
			return err
		}
	}
	return nil
}

func (c content) downward(p *corev1.Pod, items []corev1.DownwardAPIVolumeFile, m int32, w World) error {
	for i := range items {
		f := &items[i]
		var value string
		var err error
		switch {
		case f.FieldRef != nil:
			value, err = pod.FieldValue(p, f.FieldRef.FieldPath, w.Place, w.Address)
		case f.ResourceFieldRef != nil:
			value, err = pod.ResourceValue(p, nil, f.ResourceFieldRef, w.Place)
		}
		if err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
		own := m
		if f.Mode != nil {
			own = *f.Mode
		}
		if err := c.put(f.Path, []byte(value), own); err != nil {
			return err
		}
	}
	return nil
}

// put adds a file. Its path must lead nowhere but into the volume, and not to what the volume keeps for itself.
func (c content) put(path string, data []byte, m int32) error {
	clean := filepath.Clean(path)
	if !filepath.IsLocal(clean) || clean == "." || strings.HasPrefix(clean, "..") {
		return fmt.Errorf("path %q does not lead into the volume", path)
	}
	c[clean] = file{data: data, mode: m}
	return nil
}
