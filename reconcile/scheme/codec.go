package scheme

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Codec is how the store's backend keeps objects: Kubernetes' kinds as protobuf in Kubernetes' own envelope, as etcd
// would hold them, ours and those that a CustomResourceDefinition defines as JSON. It may be used from any number of
// goroutines.
type Codec struct {
	scheme *Scheme
	proto  *protobuf.Serializer
	shared *interner
}

// Codec makes a Codec. One is enough: what it decodes shares its strings.
func (s *Scheme) Codec() *Codec {
	return &Codec{scheme: s, proto: protobuf.NewSerializer(s.Runtime, s.Runtime), shared: newInterner()}
}

// protoPrefix begins Kubernetes' protobuf envelope.
const protoPrefix = "k8s\x00"

// Encode writes o, which must be of a served kind and carry its kind, as stored objects do.
func (c *Codec) Encode(o store.Object) ([]byte, error) {
	_, custom := o.(*unstructured.Unstructured)
	if custom || o.GetObjectKind().GroupVersionKind().Group == v1alpha1.GroupVersion.Group {
		b, err := json.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", c.scheme.Stored.Key(o), err)
		}
		return b, nil
	}
	if c.scheme.Of(o) == nil {
		return nil, fmt.Errorf("encode %s: its kind is not served", c.scheme.Stored.Key(o))
	}
	var b exact
	if err := c.proto.Encode(o, &b); err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.scheme.Stored.Key(o), err)
	}
	return b.bytes, nil
}

// exact keeps the one slice that the serializer writes, which it does not use again.
type exact struct{ bytes []byte }

func (e *exact) Write(p []byte) (int, error) {
	if e.bytes == nil {
		e.bytes = p
	} else {
		e.bytes = append(e.bytes, p...)
	}
	return len(p), nil
}

// Decode reads what Encode wrote. The object keeps nothing of data.
func (c *Codec) Decode(data []byte) (store.Object, error) {
	o, err := c.decode(data)
	if err != nil {
		return nil, fmt.Errorf("decode a stored object: %w", err)
	}
	c.shared.object(o)
	return o, nil
}

func (c *Codec) decode(data []byte) (store.Object, error) {
	if bytes.HasPrefix(data, []byte(protoPrefix)) {
		o, gvk, err := c.proto.Decode(data, nil, nil)
		if err != nil {
			return nil, err
		}
		o.GetObjectKind().SetGroupVersionKind(*gvk)
		typeClaims(o)
		return o.(store.Object), nil
	}
	var t runtime.TypeMeta
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, err
	}
	if gk := t.GroupVersionKind().GroupKind(); gk.Group != v1alpha1.GroupVersion.Group && gk.Group != "" && gk.Kind != "" {
		// What a definition defines is read before anybody knows the definition.
		o := &unstructured.Unstructured{}
		return o, o.UnmarshalJSON(data)
	}
	k, err := c.scheme.Lookup(t.GroupVersionKind())
	if err != nil {
		return nil, err
	}
	o := k.New()
	return o, json.Unmarshal(data, o)
}
