package admit

import (
	"fmt"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Services finds where to reach a service from this process: at its cluster address.
type Services struct{ Snapshot func() *store.Snapshot }

// ResolveEndpoint implements webhook.ServiceResolver.
func (s Services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	service, ok := store.Get[*corev1.Service](s.Snapshot(), namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, name)
	}
	number := strconv.Itoa(int(port))
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return &url.URL{Scheme: "https", Host: net.JoinHostPort(service.Spec.ExternalName, number)}, nil
	case service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone:
		return nil, fmt.Errorf("reach service %s/%s: it has no cluster address", namespace, name)
	}
	for _, p := range service.Spec.Ports {
		if p.Port == port {
			return &url.URL{Scheme: "https", Host: net.JoinHostPort(service.Spec.ClusterIP, number)}, nil
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
}
