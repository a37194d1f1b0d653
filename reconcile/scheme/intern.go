package scheme

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Objects repeat each other: their field owners, labels, owners and, in pods, much of the spec. An interner lets decoded
// objects share these.
type interner struct {
	mu      sync.Mutex
	strings map[string]string
	fields  map[string][]byte
	size    int
}

const (
	internAtMost = 4 << 20 // bytes. An interner that has grown to this begins anew; what is shared stays shared
	internLength = 128     // longer strings, such as annotations with whole objects in them, are rarely alike
)

func newInterner() *interner {
	return &interner{strings: map[string]string{}, fields: map[string][]byte{}}
}

// Intern lets o share with what was decoded and interned before. It changes o in place, though not what it says, so it is
// for objects that nobody else holds yet.
func (c *Codec) Intern(o store.Object) { c.shared.object(o) }

func (n *interner) object(o store.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.size > internAtMost {
		clear(n.strings)
		clear(n.fields)
		n.size = 0
	}
	if u, ok := o.(*unstructured.Unstructured); ok {
		u.Object = n.value(u.Object).(map[string]any)
		return
	}
	if t, ok := o.GetObjectKind().(*metav1.TypeMeta); ok {
		n.all(&t.APIVersion, &t.Kind)
	}
	if m, ok := o.(metav1.ObjectMetaAccessor); ok {
		if m, ok := m.GetObjectMeta().(*metav1.ObjectMeta); ok {
			n.metadata(m)
		}
	}
	if p, ok := o.(*corev1.Pod); ok {
		n.pod(p)
	}
}

// value shares all names of fields, and short texts.
func (n *interner) value(v any) any {
	switch v := v.(type) {
	case string:
		return n.text(v)
	case map[string]any:
		shared := make(map[string]any, len(v)) // a map keeps the key that it was first given
		for k, inner := range v {
			shared[n.text(k)] = n.value(inner)
		}
		return shared
	case []any:
		for i := range v {
			v[i] = n.value(v[i])
		}
	}
	return v
}

func (n *interner) metadata(m *metav1.ObjectMeta) {
	n.all(&m.Namespace, &m.GenerateName)
	n.texts(m.Labels)
	n.texts(m.Annotations)
	for i := range m.OwnerReferences {
		r := &m.OwnerReferences[i]
		n.all(&r.APIVersion, &r.Kind, &r.Name, (*string)(&r.UID))
	}
	for i := range m.Finalizers {
		n.all(&m.Finalizers[i])
	}
	for i := range m.ManagedFields {
		f := &m.ManagedFields[i]
		n.all(&f.Manager, (*string)(&f.Operation), &f.APIVersion, &f.FieldsType, &f.Subresource)
		if f.FieldsV1 != nil {
			//lint:ignore SA1019 SetRawBytes would copy what is to be shared
			f.FieldsV1.Raw = n.bytes(f.FieldsV1.GetRawBytes())
		}
	}
}

func (n *interner) pod(p *corev1.Pod) {
	s := &p.Spec
	n.all((*string)(&s.RestartPolicy), (*string)(&s.DNSPolicy), &s.ServiceAccountName, &s.DeprecatedServiceAccount,
		&s.NodeName, &s.SchedulerName, (*string)(&p.Status.Phase), (*string)(&p.Status.QOSClass), &p.Status.HostIP)
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			n.container(&list[i])
		}
	}
	for i := range s.Volumes {
		n.all(&s.Volumes[i].Name)
	}
	for i := range s.Tolerations {
		t := &s.Tolerations[i]
		n.all(&t.Key, (*string)(&t.Operator), &t.Value, (*string)(&t.Effect))
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		n.all((*string)(&c.Type), (*string)(&c.Status), &c.Reason)
	}
	for i := range p.Status.ContainerStatuses {
		c := &p.Status.ContainerStatuses[i]
		n.all(&c.Name, &c.Image, &c.ImageID)
	}
}

func (n *interner) container(c *corev1.Container) {
	n.all(&c.Name, &c.Image, &c.WorkingDir, &c.TerminationMessagePath, (*string)(&c.TerminationMessagePolicy), (*string)(&c.ImagePullPolicy))
	for i := range c.Command {
		n.all(&c.Command[i])
	}
	for i := range c.Args {
		n.all(&c.Args[i])
	}
	for i := range c.Ports {
		n.all(&c.Ports[i].Name, (*string)(&c.Ports[i].Protocol))
	}
	for i := range c.Env {
		n.all(&c.Env[i].Name, &c.Env[i].Value)
	}
	for i := range c.VolumeMounts {
		n.all(&c.VolumeMounts[i].Name, &c.VolumeMounts[i].MountPath)
	}
}

// texts replaces keys too: a map keeps the key that it was first given.
func (n *interner) texts(m map[string]string) {
	for k, v := range m {
		n.all(&k, &v)
		delete(m, k)
		m[k] = v
	}
}

func (n *interner) all(texts ...*string) {
	for _, t := range texts {
		*t = n.text(*t)
	}
}

func (n *interner) text(s string) string {
	if s == "" || len(s) > internLength {
		return s
	}
	if shared, ok := n.strings[s]; ok {
		return shared
	}
	n.strings[s] = s
	n.size += len(s)
	return s
}

func (n *interner) bytes(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	if shared, ok := n.fields[string(b)]; ok {
		return shared
	}
	b = b[:len(b):len(b)] // whoever appends to it gets one of his own
	n.fields[string(b)] = b
	n.size += 2 * len(b)
	return b
}
