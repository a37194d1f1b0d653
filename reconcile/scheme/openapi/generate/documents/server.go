package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/emicklei/go-restful/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilopenapi "k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/openapi/definitions"
)

// version is that of the Kubernetes API that is served.
const version = "v1.37.2"

// A server has the routes of the kinds, and answers nothing.
type server struct {
	container *restful.Container
	config2   *common.Config
	config3   *common.OpenAPIV3Config
}

func install(s *scheme.Scheme) (server, error) {
	names := apiopenapi.NewDefinitionNamer(s.Runtime)
	types := utilopenapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(definitions.GetOpenAPIDefinitions)
	c := server{
		container: restful.NewContainer(),
		config2:   genericapiserver.DefaultOpenAPIConfig(types, names),
		config3:   genericapiserver.DefaultOpenAPIV3Config(types, names),
	}
	c.config2.Info.Title, c.config2.Info.Version = "Mainstay", version
	c.config3.Info.Title, c.config3.Info.Version = "Mainstay", version
	c.config2.GetDefinitionName, c.config3.GetDefinitionName = external(names), external(names)
	groups := map[schema.GroupVersion]map[string]rest.Storage{}
	for _, k := range s.All() {
		for _, gv := range k.Served() {
			if groups[gv] == nil {
				groups[gv] = map[string]rest.Storage{}
			}
			maps.Copy(groups[gv], storages(k))
		}
	}
	groups[corev1.SchemeGroupVersion]["componentstatuses"] = componentStatuses{}
	groups[authenticationv1.SchemeGroupVersion] = reviews()
	groups[authorizationv1.SchemeGroupVersion] = accessReviews()
	for gv, storage := range groups {
		if err := c.add(s, gv, storage); err != nil {
			return server{}, err
		}
	}
	return c, nil
}

// external names definitions with the kinds that clients know: not those of the internal version.
func external(names *apiopenapi.DefinitionNamer) func(string) (string, spec.Extensions) {
	return func(name string) (string, spec.Extensions) {
		friendly, extensions := names.GetDefinitionName(name)
		for at, v := range extensions {
			kinds, ok := v.([]any)
			if !ok {
				continue
			}
			extensions[at] = slices.DeleteFunc(kinds, func(k any) bool {
				return k.(map[string]any)["version"] == runtime.APIVersionInternal
			})
		}
		return friendly, extensions
	}
}

func (c server) add(s *scheme.Scheme, gv schema.GroupVersion, storage map[string]rest.Storage) error {
	root := "/apis"
	if gv.Group == "" {
		root = "/api"
	}
	unversioned := schema.GroupVersion{Version: "v1"}
	g := &endpoints.APIGroupVersion{
		Root: root, GroupVersion: gv, Storage: storage, OptionsExternalVersion: &unversioned,
		Serializer: s.Codecs, ParameterCodec: s.Parameters,
		Typer: s.Runtime, Creater: s.Runtime, Convertor: s.Runtime, ConvertabilityChecker: s.Runtime, Defaulter: s.Runtime,
		Namer: runtime.Namer(meta.NewAccessor()), UnsafeConvertor: runtime.UnsafeObjectConvertor(s.Runtime),
		TypeConverter:              s.OpenAPI.Converter(s.Runtime),
		EquivalentResourceRegistry: runtime.NewEquivalentResourceRegistry(), MinRequestTimeout: time.Hour,
	}
	if _, _, err := g.InstallREST(c.container); err != nil {
		return fmt.Errorf("install %s: %w", gv, err)
	}
	return nil
}

// storages are the resource of k and its subresources, by path.
func storages(k *scheme.Kind) map[string]rest.Storage {
	all := map[string]rest.Storage{k.Plural: resource{k: k}}
	if k.Status {
		all[k.Plural+"/status"] = part{resource: resource{k: k}}
	}
	if k.Scale != nil {
		all[k.Plural+"/scale"] = scale{part{resource: resource{k: k}}}
	}
	for _, name := range k.Others {
		all[k.Plural+"/"+name] = other(k, name)
	}
	return all
}

func other(k *scheme.Kind, name string) rest.Storage {
	switch name {
	case "log":
		return log{resource: bare{resource{k: k}}}
	case "attach":
		return stream{bare: bare{resource{k: k}}, options: func() runtime.Object { return &corev1.PodAttachOptions{} }}
	case "exec":
		return stream{bare: bare{resource{k: k}}, options: func() runtime.Object { return &corev1.PodExecOptions{} }}
	case "portforward":
		return stream{bare: bare{resource{k: k}}, options: func() runtime.Object { return &corev1.PodPortForwardOptions{} }}
	case "proxy":
		return proxy{stream{bare: bare{resource{k: k}}, options: proxyOptions(k)}}
	case "approval", "ephemeralcontainers", "resize":
		return part{resource: resource{k: k}}
	case "finalize":
		return finalize{bare: bare{resource{k: k}}}
	case "eviction":
		return eviction{post{bare: bare{resource{k: k}}, make: func() runtime.Object { return &policyv1.Eviction{} }}}
	case "token":
		return tokenRequest{post{bare: bare{resource{k: k}}, make: func() runtime.Object { return &authenticationv1.TokenRequest{} }}}
	case "binding":
		return post{bare: bare{resource{k: k}}, make: func() runtime.Object { return &corev1.Binding{} }}
	}
	panic("no storage for " + k.Plural + "/" + name)
}

// A resource can be all that a resource can. Only what describes it is ever called.
type resource struct {
	rest.StandardStorage
	k *scheme.Kind
}

func (r resource) New() runtime.Object     { return r.k.New() }
func (r resource) NewList() runtime.Object { return r.k.NewList() }
func (r resource) NamespaceScoped() bool   { return r.k.Namespaced }
func (r resource) GetSingularName() string { return r.k.Singular }
func (r resource) Destroy()                {}

// bare is what every storage must be.
type bare struct{ r resource }

func (b bare) New() runtime.Object     { return b.r.New() }
func (b bare) NamespaceScoped() bool   { return b.r.NamespaceScoped() }
func (b bare) GetSingularName() string { return b.r.GetSingularName() }
func (b bare) Destroy()                {}

// part can be read and written, as status and scale are.
type part struct {
	rest.Patcher
	resource resource
}

func (p part) New() runtime.Object     { return p.resource.New() }
func (p part) NamespaceScoped() bool   { return p.resource.NamespaceScoped() }
func (p part) GetSingularName() string { return p.resource.GetSingularName() }
func (p part) Destroy()                {}

type scale struct{ part }

func (scale) New() runtime.Object { return &autoscalingv1.Scale{} }
func (scale) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// post can be posted to.
type post struct {
	bare
	rest.NamedCreater
	make func() runtime.Object
}

func (p post) New() runtime.Object { return p.make() }

type eviction struct{ post }

func (eviction) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

type tokenRequest struct{ post }

func (tokenRequest) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// componentStatuses can be listed and read.
type componentStatuses struct {
	rest.Lister
	rest.Getter
}

func (componentStatuses) New() runtime.Object     { return &corev1.ComponentStatus{} }
func (componentStatuses) NewList() runtime.Object { return &corev1.ComponentStatusList{} }
func (componentStatuses) NamespaceScoped() bool   { return false }
func (componentStatuses) GetSingularName() string { return "componentstatus" }
func (componentStatuses) Destroy()                {}
func (componentStatuses) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, nil
}

// reviews are what is answered and not kept.
func reviews() map[string]rest.Storage {
	return map[string]rest.Storage{
		"tokenreviews":       review{singular: "tokenreview", make: func() runtime.Object { return &authenticationv1.TokenReview{} }},
		"selfsubjectreviews": review{singular: "selfsubjectreview", make: func() runtime.Object { return &authenticationv1.SelfSubjectReview{} }},
	}
}

func accessReviews() map[string]rest.Storage {
	return map[string]rest.Storage{
		"subjectaccessreviews":      review{singular: "subjectaccessreview", make: func() runtime.Object { return &authorizationv1.SubjectAccessReview{} }},
		"localsubjectaccessreviews": review{singular: "localsubjectaccessreview", namespaced: true, make: func() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} }},
		"selfsubjectaccessreviews":  review{singular: "selfsubjectaccessreview", make: func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }},
		"selfsubjectrulesreviews":   review{singular: "selfsubjectrulesreview", make: func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }},
	}
}

type review struct {
	rest.Creater
	singular   string
	namespaced bool
	make       func() runtime.Object
}

func (r review) New() runtime.Object     { return r.make() }
func (r review) NamespaceScoped() bool   { return r.namespaced }
func (r review) GetSingularName() string { return r.singular }
func (r review) Destroy()                {}

// finalize can be replaced.
type finalize struct {
	bare
	rest.Updater
}

func (f finalize) New() runtime.Object { return f.bare.New() }

// stream can be connected to.
type stream struct {
	bare
	rest.Connecter
	options func() runtime.Object
}

func (s stream) New() runtime.Object      { return s.bare.New() }
func (s stream) Destroy()                 {}
func (s stream) ConnectMethods() []string { return []string{"GET", "POST"} }
func (s stream) NewConnectOptions() (runtime.Object, bool, string) {
	return s.options(), false, ""
}

// proxy leads elsewhere, with whatever is asked.
type proxy struct{ stream }

func (p proxy) ConnectMethods() []string {
	return []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
}

func (p proxy) NewConnectOptions() (runtime.Object, bool, string) { return p.options(), true, "path" }

func proxyOptions(k *scheme.Kind) func() runtime.Object {
	return map[string]func() runtime.Object{
		"pods":     func() runtime.Object { return &corev1.PodProxyOptions{} },
		"services": func() runtime.Object { return &corev1.ServiceProxyOptions{} },
		"nodes":    func() runtime.Object { return &corev1.NodeProxyOptions{} },
	}[k.Plural]
}

// log can be read.
type log struct {
	rest.GetterWithOptions
	resource bare
}

func (l log) New() runtime.Object     { return l.resource.New() }
func (l log) NamespaceScoped() bool   { return l.resource.NamespaceScoped() }
func (l log) GetSingularName() string { return l.resource.GetSingularName() }
func (l log) Destroy()                {}
func (l log) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}
func (l log) ProducesMIMETypes(string) []string { return []string{"text/plain"} }
func (l log) ProducesObject(string) any         { return "" }
