package disk

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// protoCodec is Kubernetes' protobuf with its envelope.
type protoCodec struct{ proto *protobuf.Serializer }

func newCodec() Codec {
	return protoCodec{protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)}
}

func (c protoCodec) Encode(o store.Object) ([]byte, error) { return runtime.Encode(c.proto, o) }

func (c protoCodec) Decode(data []byte) (store.Object, error) {
	o, _, err := c.proto.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	so, ok := o.(store.Object)
	if !ok {
		return nil, fmt.Errorf("%T is not an object", o)
	}
	return so, nil
}
