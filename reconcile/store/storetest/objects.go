// Package storetest has the suites that every store.Backend, and a store on any backend, must pass, and the model that they
// are checked against: a plain map.
package storetest

import (
	"fmt"
	"math/rand/v2"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Kinds are those of the objects in the suites.
func Kinds() store.Kinds {
	k := store.Kinds{}
	k.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), &corev1.ConfigMap{})
	k.Add(corev1.SchemeGroupVersion.WithKind("Pod"), &corev1.Pod{})
	k.Add(corev1.SchemeGroupVersion.WithKind("Service"), &corev1.Service{})
	k.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), &discoveryv1.EndpointSlice{})
	k.Add(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), &appsv1.ReplicaSet{})
	return k
}

const (
	namespaces = 3
	nonce      = "nonce" // the annotation that tells two versions of an object apart
)

// blank is the object with number n, with a key and nothing else.
func blank(n int) store.Object {
	m := metav1.ObjectMeta{Name: fmt.Sprintf("x%05d", n), Namespace: fmt.Sprintf("ns-%d", n%namespaces)}
	switch n % 5 {
	case 0:
		return &corev1.Pod{ObjectMeta: m}
	case 1:
		return &corev1.Service{ObjectMeta: m}
	case 2:
		return &discoveryv1.EndpointSlice{ObjectMeta: m, AddressType: discoveryv1.AddressTypeIPv4}
	case 3:
		return &appsv1.ReplicaSet{ObjectMeta: m}
	}
	return &corev1.ConfigMap{ObjectMeta: m}
}

// fresh is the object with number n as nobody has seen it before.
func fresh(r *rand.Rand, n, bytes int) store.Object {
	o := blank(n)
	o.SetUID(types.UID(fmt.Sprintf("uid-%x", r.Uint64())))
	vary(r, o, bytes)
	return o
}

// varied is a copy of o with other contents.
func varied(r *rand.Rand, o store.Object, bytes int) store.Object {
	o = o.DeepCopyObject().(store.Object)
	vary(r, o, bytes)
	return o
}

// vary changes all that an index looks at, and the size.
func vary(r *rand.Rand, o store.Object, bytes int) {
	o.SetAnnotations(map[string]string{nonce: fmt.Sprintf("%x", r.Uint64()), "text": text(r, r.IntN(bytes+1))})
	o.SetLabels(map[string]string{"color": pick(r, "red", "green", "blue")})
	o.SetOwnerReferences(nil)
	for range r.IntN(3) {
		o.SetOwnerReferences(append(o.GetOwnerReferences(), metav1.OwnerReference{Name: "owner", UID: owner(r)}))
	}
	switch o := o.(type) {
	case *corev1.Pod:
		o.Spec.NodeName = node(r)
		o.Status.Phase = corev1.PodPhase(pick(r, "", string(corev1.PodRunning), string(corev1.PodSucceeded)))
	case *discoveryv1.EndpointSlice:
		o.Labels[discoveryv1.LabelServiceName] = service(r)
	}
}

func owner(r *rand.Rand) types.UID  { return types.UID(pick(r, "a", "b", "c", "d")) }
func node(r *rand.Rand) string      { return pick(r, "", "n1", "n2", "n3") }
func service(r *rand.Rand) string   { return pick(r, "s1", "s2") }
func namespace(r *rand.Rand) string { return fmt.Sprintf("ns-%d", r.IntN(namespaces)) }

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// text is of n letters that do not compress well.
func text(r *rand.Rand, n int) string {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		for v, j := r.Uint64(), 0; j < 8; j, v = j+1, v>>8 {
			b[i+j] = '0' + byte(v&63)
		}
	}
	return string(b[:n])
}
