package pod

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// variables are those of one container, in the order in which they were first set.
type variables struct {
	names  []string
	values map[string]string
	notes  []string // on what was left out
}

func (v *variables) set(name, value string) {
	if _, ok := v.values[name]; !ok {
		v.names = append(v.names, name)
	}
	v.values[name] = value
}

func (v *variables) get(name string) (string, bool) {
	value, ok := v.values[name]
	return value, ok
}

func (v *variables) list() []string {
	list := make([]string, len(v.names))
	for i, n := range v.names {
		list[i] = n + "=" + v.values[n]
	}
	return list
}

// environment is what a container finds in its environment: its host name, the services of its namespace, what envFrom
// names, then env. Errors are *runtime.ConfigError.
func environment(p *corev1.Pod, c *corev1.Container, s *store.Snapshot, place Place, address netip.Addr) (*variables, error) {
	v := &variables{values: map[string]string{}}
	name, err := SandboxHostname(p, place)
	if err != nil {
		return nil, err
	}
	v.set("HOSTNAME", name)
	for name, value := range serviceVariables(p, s) {
		v.set(name, value)
	}
	for i := range c.EnvFrom {
		if err := v.from(p.Namespace, &c.EnvFrom[i], s); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		e := &c.Env[i]
		if e.ValueFrom == nil {
			v.set(e.Name, Expand(e.Value, v.get))
			continue
		}
		value, ok, err := v.valueFrom(p, c, e.ValueFrom, s, place, address)
		if err != nil {
			return nil, &runtime.ConfigError{Reason: fmt.Sprintf("env %s: %s", e.Name, err)}
		}
		if ok {
			v.set(e.Name, value)
		}
	}
	return v, nil
}

func (v *variables) from(ns string, f *corev1.EnvFromSource, s *store.Snapshot) error {
	var data map[string]string
	var from string
	switch {
	case f.ConfigMapRef != nil:
		from = "configMap " + ns + "/" + f.ConfigMapRef.Name
		m, ok := store.Get[*corev1.ConfigMap](s, ns, f.ConfigMapRef.Name)
		if !ok && !yes(f.ConfigMapRef.Optional) {
			return &runtime.ConfigError{Reason: fmt.Sprintf("configmap %q not found", f.ConfigMapRef.Name)}
		} else if ok {
			data = m.Data
		}
	case f.SecretRef != nil:
		from = "secret " + ns + "/" + f.SecretRef.Name
		m, ok := store.Get[*corev1.Secret](s, ns, f.SecretRef.Name)
		if !ok && !yes(f.SecretRef.Optional) {
			return &runtime.ConfigError{Reason: fmt.Sprintf("secret %q not found", f.SecretRef.Name)}
		} else if ok {
			data = make(map[string]string, len(m.Data))
			for k, b := range m.Data {
				data[k] = string(b)
			}
		}
	}
	var skipped []string
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if name := f.Prefix + k; len(validation.IsRelaxedEnvVarName(name)) == 0 {
			v.set(name, data[k])
		} else {
			skipped = append(skipped, k)
		}
	}
	if len(skipped) > 0 {
		v.notes = append(v.notes, fmt.Sprintf("Keys [%s] from the EnvFrom %s were skipped since they are considered invalid environment variable names.",
			strings.Join(skipped, ", "), from))
	}
	return nil
}

// valueFrom is a value from elsewhere; false if it is optional and absent.
func (v *variables) valueFrom(p *corev1.Pod, c *corev1.Container, f *corev1.EnvVarSource, s *store.Snapshot, place Place, address netip.Addr) (string, bool, error) {
	switch {
	case f.FieldRef != nil:
		value, err := FieldValue(p, f.FieldRef.FieldPath, place, address)
		return value, true, err
	case f.ResourceFieldRef != nil:
		value, err := ResourceValue(p, c, f.ResourceFieldRef, place)
		return value, true, err
	case f.ConfigMapKeyRef != nil:
		r := f.ConfigMapKeyRef
		m, found := store.Get[*corev1.ConfigMap](s, p.Namespace, r.Name)
		if !found {
			return optional("configmap", r.Name, "", r.Optional)
		}
		if value, ok := m.Data[r.Key]; ok {
			return value, true, nil
		}
		return optional("configmap", r.Name, r.Key, r.Optional)
	case f.SecretKeyRef != nil:
		r := f.SecretKeyRef
		m, found := store.Get[*corev1.Secret](s, p.Namespace, r.Name)
		if !found {
			return optional("secret", r.Name, "", r.Optional)
		}
		if value, ok := m.Data[r.Key]; ok {
			return string(value), true, nil
		}
		return optional("secret", r.Name, r.Key, r.Optional)
	}
	return "", false, fmt.Errorf("valueFrom names no source")
}

// optional is the error for what is absent; none if it may be.
func optional(kind, name, key string, may *bool) (string, bool, error) {
	switch {
	case yes(may):
		return "", false, nil
	case key == "":
		return "", false, fmt.Errorf("%s %q not found", kind, name)
	}
	return "", false, fmt.Errorf("key %q not found in %s %q", key, kind, name)
}

// serviceVariables are those that tell of the services of the pod's namespace, if it wants them, and of the API always.
func serviceVariables(p *corev1.Pod, s *store.Snapshot) iter.Seq2[string, string] {
	links := p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks
	return func(yield func(string, string) bool) {
		if api, ok := store.Get[*corev1.Service](s, corev1.NamespaceDefault, "kubernetes"); ok && !linkService(api, yield) {
			return
		}
		if !links {
			return
		}
		for svc := range store.List[*corev1.Service](s, store.InNamespace(p.Namespace)) {
			if !linkService(svc, yield) {
				return
			}
		}
	}
}

func linkService(svc *corev1.Service, yield func(string, string) bool) bool {
	ip := svc.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(svc.Spec.Ports) == 0 {
		return true
	}
	name := strings.ToUpper(strings.ReplaceAll(svc.Name, "-", "_"))
	ok := yield(name+"_SERVICE_HOST", ip) && yield(name+"_SERVICE_PORT", fmt.Sprint(svc.Spec.Ports[0].Port))
	for _, port := range svc.Spec.Ports {
		if ok && port.Name != "" {
			ok = yield(name+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(port.Name, "-", "_")), fmt.Sprint(port.Port))
		}
	}
	for i, port := range svc.Spec.Ports {
		proto := string(port.Protocol)
		if proto == "" {
			proto = string(corev1.ProtocolTCP)
		}
		url := fmt.Sprintf("%s://%s:%d", strings.ToLower(proto), ip, port.Port)
		at := fmt.Sprintf("%s_PORT_%d_%s", name, port.Port, proto)
		ok = ok && (i > 0 || yield(name+"_PORT", url)) && yield(at, url) && yield(at+"_PROTO", strings.ToLower(proto)) &&
			yield(at+"_PORT", fmt.Sprint(port.Port)) && yield(at+"_ADDR", ip)
	}
	return ok
}

// Refs are the ConfigMaps and Secrets that the variables of p's containers come from, and those it pulls images with.
func Refs(p *corev1.Pod, k store.Kinds) []store.Key {
	var keys []store.Key
	add := func(o store.Object, name string) {
		o.SetNamespace(p.Namespace)
		o.SetName(name)
		keys = append(keys, k.Key(o))
	}
	for c := range Containers(&p.Spec) {
		for _, f := range c.EnvFrom {
			if f.ConfigMapRef != nil {
				add(&corev1.ConfigMap{}, f.ConfigMapRef.Name)
			} else if f.SecretRef != nil {
				add(&corev1.Secret{}, f.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if f := e.ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
				add(&corev1.ConfigMap{}, f.ConfigMapKeyRef.Name)
			} else if f != nil && f.SecretKeyRef != nil {
				add(&corev1.Secret{}, f.SecretKeyRef.Name)
			}
		}
	}
	for _, s := range p.Spec.ImagePullSecrets {
		add(&corev1.Secret{}, s.Name)
	}
	return keys
}
