package custom

import (
	"fmt"
	"io"
	"strconv"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/api/kubestore"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A passage stands where upstream puts the encoding of objects that are stored. The store keeps objects, not bytes, but what
// upstream does on the way there and back is wanted: conversion between versions, defaults, and the removal of what the
// schema does not know. So what is decoded is an object that waits under a number, and what is encoded is taken as it is.
type passage struct {
	mu      sync.Mutex
	last    uint64
	waiting map[string]*unstructured.Unstructured
}

var _ runtime.Codec = (*passage)(nil)

func newPassage() *passage { return &passage{waiting: map[string]*unstructured.Unstructured{}} }

// Decode implements runtime.Decoder: data is the number.
func (p *passage) Decode(data []byte, _ *schema.GroupVersionKind, _ runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.waiting[string(data)]
	if !ok {
		return nil, nil, fmt.Errorf("decode %q: no object waits there", data)
	}
	delete(p.waiting, string(data))
	gvk := o.GroupVersionKind()
	return o, &gvk, nil
}

// Encode implements runtime.Encoder: into a *taken only.
func (p *passage) Encode(o runtime.Object, w io.Writer) error {
	to, ok := w.(*taken)
	u, custom := o.(*unstructured.Unstructured)
	if !ok || !custom {
		return fmt.Errorf("encode a %T into a %T: it is not stored as bytes", o, w)
	}
	to.object = u
	return nil
}

// Identifier implements runtime.Encoder.
func (p *passage) Identifier() runtime.Identifier { return "passage" }

// taken is a writer that nothing is written to.
type taken struct{ object *unstructured.Unstructured }

func (*taken) Write([]byte) (int, error) {
	return 0, fmt.Errorf("write an object: it is not stored as bytes")
}

// conversion is what codec, which upstream built around the passage, makes of objects.
func (p *passage) conversion(codec runtime.Codec) *kubestore.Conversion {
	return &kubestore.Conversion{
		Served: func(o store.Object) (store.Object, error) {
			served, err := runtime.Decode(codec, p.wait(o.(*unstructured.Unstructured).DeepCopy()))
			if err != nil {
				return nil, err
			}
			return served.(store.Object), nil
		},
		Stored: func(o store.Object) (store.Object, error) {
			var to taken
			if err := codec.Encode(o.DeepCopyObject(), &to); err != nil {
				return nil, err
			}
			return to.object, nil
		},
	}
}

func (p *passage) wait(o *unstructured.Unstructured) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	number := strconv.AppendUint(nil, p.last, 10)
	p.waiting[string(number)] = o
	return number
}
