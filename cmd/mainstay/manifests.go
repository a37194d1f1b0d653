package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/nodes/static"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

// manifestFolder is the folder of the pods that this node runs by itself.
func (o *upOptions) manifestFolder(s *scheme.Scheme) *static.Folder {
	dir := o.manifests
	if dir == "" {
		dir = o.under("manifests")
	}
	return &static.Folder{Dir: dir, Node: o.node, Decode: func(path string, data []byte) ([]*corev1.Pod, error) {
		return staticPods(s, path, data)
	}}
}

// staticPods makes complete pods of a manifest, as the API would.
func staticPods(s *scheme.Scheme, path string, data []byte) ([]*corev1.Pod, error) {
	r := decode.File(path, data, s)
	if len(r.Errors) > 0 {
		return nil, r.Errors
	}
	var pods []*corev1.Pod
	var wrong decode.Errors
	for _, d := range r.Documents {
		o, err := s.Typed(d.Object)
		if err != nil {
			return nil, decode.Errors{{Path: path, Line: d.Origin.Line, Message: err.Error()}}
		}
		p, ok := o.(*corev1.Pod)
		if !ok {
			wrong = append(wrong, decode.Error{Path: path, Line: d.Origin.Line, Message: fmt.Sprintf("%s: only pods run from this folder", d.Object.GetKind())})
			continue
		}
		if p.Namespace == "" {
			p.Namespace = metav1.NamespaceDefault
		}
		// It stays whatever becomes of the node, and has no account at an API that it may not need.
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
		p.Spec.AutomountServiceAccountToken = new(bool)
		kind := s.Of(p)
		kind.PrepareCreate(p, "", time.Time{})
		for _, e := range kind.Validate(p) {
			wrong = append(wrong, decode.Error{Path: path, Line: decode.Locate(data, d.Origin.Index, e.Field), Message: e.Error()})
		}
		pods = append(pods, p)
	}
	if len(wrong) > 0 {
		return nil, wrong.Sort()
	}
	return pods, nil
}
