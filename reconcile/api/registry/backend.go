package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	endpoints "k8s.io/apiserver/pkg/util/proxy"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// kubeletPort is where people expect a node to answer, if they name a port at all.
const kubeletPort = "10250"

// found is an object of a resource, by its name and the namespace of ctx.
func found[T store.Object](ctx context.Context, res *resource, name string) (T, error) {
	var none T
	o, err := res.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return none, err
	}
	return o.(T), nil
}

// podServer is where a pod answers: at the port that is asked for, or else the first one that it names.
func podServer(pod *corev1.Pod, id proxied) (*url.URL, error) {
	if pod.Status.PodIP == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %q has no address yet", pod.Name))
	}
	port := id.port
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; port == "" && len(ports) > 0 {
			port = strconv.Itoa(int(ports[0].ContainerPort))
		}
	}
	return server(id.scheme, pod.Status.PodIP, port)
}

// serviceServer is one of the pods behind a service that are ready, picked by chance.
func serviceServer(s *store.Snapshot, svc *corev1.Service, id proxied) (*url.URL, error) {
	port, err := portName(svc, id.port)
	if err != nil {
		return nil, err
	}
	all := slices.Collect(store.List[*discoveryv1.EndpointSlice](s, store.InNamespace(svc.Namespace), store.OfService(svc.Name)))
	address, err := endpoints.RandomEndpoint(svc.Name, all, port, corev1.IPv4Protocol, func(e *discoveryv1.Endpoint) bool { return ofPod(s, svc.Namespace, e) })
	if err != nil {
		return nil, err
	}
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return server(id.scheme, host, number)
}

// portName is the name of the port that a client means, which may call it by its number.
func portName(svc *corev1.Service, asked string) (string, error) {
	number, err := strconv.ParseInt(asked, 10, 32)
	if err != nil {
		return asked, nil
	}
	for _, p := range svc.Spec.Ports {
		if int64(p.Port) == number {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, svc.Name))
}

// ofPod tells whether an endpoint is a pod of the namespace: whoever writes an EndpointSlice by hand leads nobody elsewhere.
func ofPod(s *store.Snapshot, namespace string, e *discoveryv1.Endpoint) bool {
	if e.TargetRef == nil || e.TargetRef.Kind != "Pod" || e.TargetRef.Namespace != namespace || len(e.Addresses) == 0 {
		return false
	}
	pod, ok := store.Get[*corev1.Pod](s, namespace, e.TargetRef.Name)
	return ok && slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == e.Addresses[0] })
}

// ofKubelet tells whether a port of a node is that of the node itself.
func ofKubelet(node *corev1.Node, port string) bool {
	own := int(node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	return port == "" || port == kubeletPort || own != 0 && port == strconv.Itoa(own)
}

// nodeServer is another server on a node.
func nodeServer(node *corev1.Node, id proxied) (*url.URL, error) {
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return server(id.scheme, a.Address, id.port)
		}
	}
	return nil, apierrors.NewBadRequest(fmt.Sprintf("node %q has no address", node.Name))
}

// server is the address of a server. What every machine calls itself is none that anybody is led to.
func server(scheme, host, port string) (*url.URL, error) {
	ip, err := netip.ParseAddr(host)
	if err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified()) {
		err = errors.New("address not allowed")
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s: %v", host, err))
	}
	if scheme == "" {
		scheme = "http"
	}
	if port != "" {
		host = net.JoinHostPort(host, port)
	} else if ip.Is6() {
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: scheme, Host: host}, nil
}

// proxyTransport reaches servers whose certificates nobody here can check, each request by a connection of its own: a pod
// that is replaced leaves none behind.
func proxyTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) http.RoundTripper {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // as Kubernetes does: pods have what certificates they like
		TLSHandshakeTimeout: 10 * time.Second,
		DisableKeepAlives:   true,
		DisableCompression:  true,
	}
}
