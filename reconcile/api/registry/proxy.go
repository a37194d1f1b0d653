package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/api/remote"
)

// proxies serve the subresource proxy: requests go on to where an object answers HTTP, and its answers come back.
type proxies struct {
	empty   func() runtime.Object
	options func() runtime.Object
	path    func(options runtime.Object) string
	find    func(ctx context.Context, id proxied) (backend, error)
	in      *Registry
}

// A backend is where requests go: to a server, or to a part of this process.
type backend struct {
	server  *url.URL
	handler http.Handler // nil: server
}

var _ rest.Connecter = (*proxies)(nil)

// New implements rest.Storage.
func (p *proxies) New() runtime.Object { return p.empty() }

// Destroy implements rest.Storage.
func (*proxies) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (p *proxies) NewConnectOptions() (runtime.Object, bool, string) {
	return p.options(), true, "path"
}

// ConnectMethods implements rest.Connecter.
func (*proxies) ConnectMethods() []string {
	return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}
}

// Connect implements rest.Connecter.
func (p *proxies) Connect(ctx context.Context, name string, o runtime.Object, answer rest.Responder) (http.Handler, error) {
	id, err := proxiedOf(name)
	if err != nil {
		return nil, err
	}
	to, err := p.find(ctx, id)
	if err != nil {
		return nil, err
	}
	path := p.path(o)
	if to.handler != nil {
		return remote.Closing(inside(to.handler, path), p.in.Closing), nil
	}
	to.server.Path = utilnet.JoinPreservingTrailingSlash(to.server.Path, path)
	h := proxy.NewUpgradeAwareHandler(to.server, proxyTransport(p.in.Dial), true, false, proxy.NewErrorResponder(answer))
	return remote.Closing(h, p.in.Closing), nil
}

// inside has a handler of this process answer for path, as a server elsewhere would.
func inside(h http.Handler, path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			to := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
			w.Header().Set("Location", to.String()) // so that what is relative in the answer leads here
			w.WriteHeader(http.StatusMovedPermanently)
			return
		}
		next := r.Clone(r.Context())
		next.URL.Path, next.URL.RawPath = "/"+strings.TrimPrefix(path, "/"), ""
		next.RequestURI = next.URL.RequestURI()
		h.ServeHTTP(w, next)
	})
}

// proxied is what a client asks to be led to: NAME, NAME:PORT or SCHEME:NAME:PORT.
type proxied struct{ scheme, name, port string }

func proxiedOf(id string) (proxied, error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return proxied{}, apierrors.NewBadRequest(fmt.Sprintf("%q names nothing to be led to: expected NAME, NAME:PORT, http:NAME:PORT or https:NAME:PORT", id))
	}
	return proxied{scheme, name, port}, nil
}

func (r *Registry) podProxy(pods *resource) *proxies {
	return &proxies{
		empty: func() runtime.Object { return &corev1.Pod{} }, options: func() runtime.Object { return &corev1.PodProxyOptions{} },
		path: func(o runtime.Object) string { return o.(*corev1.PodProxyOptions).Path },
		in:   r,
		find: func(ctx context.Context, id proxied) (backend, error) {
			pod, err := found[*corev1.Pod](ctx, pods, id.name)
			if err != nil {
				return backend{}, err
			}
			server, err := podServer(pod, id)
			return backend{server: server}, err
		},
	}
}

func (r *Registry) serviceProxy(services *resource) *proxies {
	return &proxies{
		empty: func() runtime.Object { return &corev1.Service{} }, options: func() runtime.Object { return &corev1.ServiceProxyOptions{} },
		path: func(o runtime.Object) string { return o.(*corev1.ServiceProxyOptions).Path },
		in:   r,
		find: func(ctx context.Context, id proxied) (backend, error) {
			svc, err := found[*corev1.Service](ctx, services, id.name)
			if err != nil {
				return backend{}, err
			}
			server, err := serviceServer(r.Store.Snapshot(), svc, id)
			return backend{server: server}, err
		},
	}
}

func (r *Registry) nodeProxy(nodes *resource) *proxies {
	return &proxies{
		empty: func() runtime.Object { return &corev1.Node{} }, options: func() runtime.Object { return &corev1.NodeProxyOptions{} },
		path: func(o runtime.Object) string { return o.(*corev1.NodeProxyOptions).Path },
		in:   r,
		find: func(ctx context.Context, id proxied) (backend, error) {
			node, err := found[*corev1.Node](ctx, nodes, id.name)
			if err != nil {
				return backend{}, err
			}
			if !ofKubelet(node, id.port) {
				server, err := nodeServer(node, id)
				return backend{server: server}, err
			}
			if r.Node != nil {
				if h := r.Node(node.Name); h != nil {
					return backend{handler: h}, nil
				}
			}
			return backend{}, apierrors.NewServiceUnavailable(fmt.Sprintf("node %q cannot be asked from here", node.Name))
		},
	}
}
