package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// elsewhere serves h on loopback, with and without TLS, and leads who asks for 10.42.0.7 there: port 8080 and port 8443.
func elsewhere(t *testing.T, h http.Handler) clusterOption {
	plain, secret := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(plain.Close)
	t.Cleanup(secret.Close)
	to := map[string]string{"10.42.0.7:8080": plain.Listener.Addr().String(), "10.42.0.7:80": plain.Listener.Addr().String(), "10.42.0.7:8443": secret.Listener.Addr().String()}
	return func(c *Config, _ *store.Options) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			real, ok := to[address]
			if !ok {
				return nil, fmt.Errorf("nobody is at %s", address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, real)
		}
		c.Node = func(name string) http.Handler {
			if name != "mine" {
				return nil
			}
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "node: %s %s", r.Method, r.URL) })
		}
	}
}

// answering is what a pod may answer.
func answering(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/links":
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<html><body><a href="/other">other</a></body></html>`)
	case "/elsewhere":
		w.Header().Set("Location", "/other")
		w.WriteHeader(http.StatusFound)
	case "/teapot":
		w.WriteHeader(http.StatusTeapot)
	case "/echo":
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buf)
	default:
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s tls=%t auth=%q body=%q", r.Method, r.URL, r.TLS != nil, r.Header.Get("Authorization"), body)
	}
}

// served is a cluster with a pod, a service in front of it, and a node.
func served(t *testing.T) *cluster {
	c := serve(t, elsewhere(t, http.HandlerFunc(answering)))
	yes, http1, https1, p80, p443 := true, "http", "https", int32(8080), int32(8443)
	objects := []store.Object{
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec:   corev1.PodSpec{NodeName: "mine", Containers: []corev1.Container{{Name: "c", Image: "x"}, {Name: "d", Image: "x", Ports: []corev1.ContainerPort{{ContainerPort: 8080}}}}},
			Status: corev1.PodStatus{PodIP: "10.42.0.7", PodIPs: []corev1.PodIP{{IP: "10.42.0.7"}}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "early"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "liar"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}},
			Status: corev1.PodStatus{PodIP: "127.0.0.1", PodIPs: []corev1.PodIP{{IP: "127.0.0.1"}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "front"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nobody"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}},
		&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "front-1", Labels: map[string]string{discoveryv1.LabelServiceName: "front"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: &http1, Port: &p80}, {Name: &https1, Port: &p443}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.42.0.7"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web"}},
				{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}, // written by hand
			}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.42.0.7"}}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "far"}},
	}
	if _, err := c.Memory.Update(t.Context(), "begin", func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRequestsAreLedToPodsServicesAndNodes(t *testing.T) {
	c := served(t)
	const pods, services, nodes = "/api/v1/namespaces/default/pods/", "/api/v1/namespaces/default/services/", "/api/v1/nodes/"
	for _, r := range []struct {
		what, method, path string
		code               int
		want               string // in the body
	}{
		{"a pod's first port", "GET", pods + "web/proxy/some/path?a=b&a=c", 200, "GET /some/path?a=b&a=c tls=false"},
		{"a pod's port", "POST", pods + "web:8080/proxy/", 200, `POST / tls=false auth="" body="hello"`},
		{"TLS", "GET", pods + "https:web:8443/proxy/x/", 200, "GET /x/ tls=true"},
		{"no path", "GET", pods + "web/proxy", 301, ""},
		{"no path to post to", "POST", pods + "web/proxy", 200, "POST / "},
		{"all verbs: put", "PUT", pods + "web/proxy/p", 200, "PUT /p"},
		{"all verbs: patch", "PATCH", pods + "web/proxy/p", 200, "PATCH /p"},
		{"all verbs: delete", "DELETE", pods + "web/proxy/p", 200, "DELETE /p"},
		{"all verbs: options", "OPTIONS", pods + "web/proxy/p", 200, "OPTIONS /p"},
		{"links lead through the proxy", "GET", pods + "web:8080/proxy/links", 200, `<a href="/api/v1/namespaces/default/pods/web:8080/proxy/other">`},
		{"redirects too", "GET", services + "front:80/proxy/elsewhere", 302, "/api/v1/namespaces/default/services/front:80/proxy/other"},
		{"codes come through", "GET", pods + "web/proxy/teapot", 418, ""},
		{"a port where nobody is", "GET", pods + "web:9/proxy/", 503, "error trying to reach service"},
		{"a pod without an address", "GET", pods + "early/proxy/", 400, "has no address yet"},
		{"an address that is everybody's own", "GET", pods + "liar:22/proxy/", 400, "address not allowed"},
		{"no pod", "GET", pods + "none/proxy/", 404, "not found"},
		{"no name", "GET", pods + "ftp:web:21/proxy/", 400, "names nothing to be led to"},
		{"a service's port by its name", "GET", services + "front:http/proxy/s", 200, "GET /s tls=false"},
		{"a service's port by its number", "GET", services + "https:front:443/proxy/s", 200, "GET /s tls=true"},
		{"a port that a service lacks", "GET", services + "front:81/proxy/s", 503, `no service port 81 found for service \"front\"`},
		{"a service with several ports, of which none is meant", "GET", services + "front/proxy/s", 503, `no endpoints available for service \"front\"`},
		{"a service with nobody behind it", "GET", services + "nobody/proxy/s", 503, `no endpoints available for service \"nobody\"`},
		{"no service", "GET", services + "none/proxy/", 404, "not found"},
		{"a node", "GET", nodes + "mine/proxy/stats/summary?only=x", 200, "node: GET /stats/summary?only=x"},
		{"a node by its port", "GET", nodes + "mine:10250/proxy/logs/", 200, "node: GET /logs/"},
		{"another server on a node", "GET", nodes + "mine:8080/proxy/n", 200, "GET /n tls=false"},
		{"a node that is elsewhere", "GET", nodes + "far/proxy/pods", 503, `node \"far\" cannot be asked from here`},
		{"no node", "GET", nodes + "none/proxy/pods", 404, "not found"},
	} {
		t.Run(r.what, func(t *testing.T) {
			answer, body := c.unfollowed(t, r.method, r.path, "hello")
			if answer.StatusCode != r.code || !strings.Contains(body+answer.Header.Get("Location"), r.want) {
				t.Errorf("%s %s: %s %q", r.method, r.path, answer.Status, body)
			}
			if r.code == 301 && answer.Header.Get("Location") != r.path+"/" {
				t.Errorf("led to %s", answer.Header.Get("Location"))
			}
		})
	}
}

// unfollowed is ask, without following where the answer leads.
func (c *cluster) unfollowed(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	transport, err := rest.TransportFor(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, c.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(data)
}

func TestAConnectionIsTakenOverThroughAProxyUntilTheServerEnds(t *testing.T) {
	c := served(t)
	config, err := rest.TLSConfigFor(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"}
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET /api/v1/namespaces/default/pods/web/proxy/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", answer, err)
	}
	fmt.Fprintf(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	c.stop()
	if rest, err := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}
