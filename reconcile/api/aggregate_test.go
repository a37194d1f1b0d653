package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var apiServicesGVR = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// sky is a server that extends the API, and tells who it believes to be asked by.
func sky(t testing.TB) (port int32) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/apis/sky.example/v1" {
			_ = json.NewEncoder(w).Encode(metav1.APIResourceList{
				TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "sky.example/v1",
				APIResources: []metav1.APIResource{{Name: "kites", SingularName: "kite", Kind: "Kite", Namespaced: true, Verbs: metav1.Verbs{"get", "list"}}},
			})
			return
		}
		fmt.Fprintf(w, `{"apiVersion":"sky.example/v1","kind":"Kite","metadata":{"name":"one"},"path":%q,"user":%q}`, r.URL.RequestURI(), r.Header.Get("X-Remote-User"))
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

func TestOtherServersExtendTheAPI(t *testing.T) {
	c := serve(t)
	port := sky(t)
	services := c.dynamic(t).Resource(apiServicesGVR)
	if _, err := services.Create(t.Context(), fromYAML(t, fmt.Sprintf(`
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.sky.example}
spec: {group: sky.example, version: v1, groupPriorityMinimum: 1000, versionPriority: 10, insecureSkipTLSVerify: true, service: {namespace: default, name: sky, port: %d}}
`, port)), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is said that the service is missing", func() (bool, error) {
		rows := c.table(t, "/apis/apiregistration.k8s.io/v1/apiservices")
		return strings.HasPrefix(fmt.Sprint(rows.Rows[0].Cells), "[v1.sky.example default/sky False (ServiceNotFound)"), nil
	})
	if _, err := c.document(t, "/apis/sky.example/v1/namespaces/default/kites/one", "application/json"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("%v", err)
	}

	ready := true
	if _, err := c.Memory.Update(t.Context(), "it comes", func(tx *store.Tx) error {
		for _, o := range []store.Object{
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sky", UID: "s"},
				Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: "127.0.0.1", Ports: []corev1.ServicePort{{Port: port}}}},
			&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sky-1", UID: "e", Labels: map[string]string{discoveryv1.LabelServiceName: "sky"}},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}},
		} {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "it is available", func() (bool, error) {
		s, err := services.Get(t.Context(), "v1.sky.example", metav1.GetOptions{})
		return err == nil && condition(s, "Available") == "True", err
	})
	text, err := c.document(t, "/apis/sky.example/v1/namespaces/default/kites/one", "application/json")
	if err != nil || !strings.Contains(text, `"path":"/apis/sky.example/v1/namespaces/default/kites/one","user":"`+access.Admin+`"`) {
		t.Errorf("%s %v", text, err)
	}

	d, err := discovery.NewDiscoveryClientForConfig(c.admin(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []*discovery.DiscoveryClient{d, d.WithLegacy().(*discovery.DiscoveryClient)} {
		until(t, "it is discovered", func() (bool, error) {
			_, lists, err := ask.ServerGroupsAndResources()
			for _, l := range lists {
				if l.GroupVersion == "sky.example/v1" && len(l.APIResources) == 1 && l.APIResources[0].Kind == "Kite" {
					return true, nil
				}
			}
			return false, err
		})
	}
	if text, err = c.document(t, "/apis/sky.example", "application/json"); err != nil || !strings.Contains(text, `"preferredVersion":{"groupVersion":"sky.example/v1"`) {
		t.Errorf("%s %v", text, err)
	}

	if err := services.Delete(t.Context(), "v1.sky.example", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "its group is gone", func() (bool, error) {
		groups, err := d.ServerGroups()
		if err != nil {
			return false, err
		}
		for _, g := range groups.Groups {
			if g.Name == "sky.example" {
				return false, nil
			}
		}
		_, err = c.document(t, "/apis/sky.example/v1/namespaces/default/kites/one", "application/json")
		return apierrors.IsNotFound(err), nil
	})
}
