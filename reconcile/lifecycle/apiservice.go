package lifecycle

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var (
	apiServiceKind = schema.GroupKind{Group: apiregistrationv1.GroupName, Kind: "APIService"}
	definitionKind = schema.GroupKind{Group: apiextensionsv1.GroupName, Kind: "CustomResourceDefinition"}
)

const (
	managedLabel    = "kube-aggregator.kubernetes.io/automanaged"
	extensionConfig = "extension-apiserver-authentication"
)

// APIServices lists what this server serves among the APIServices, and keeps what servers that extend the API must know.
type APIServices struct {
	Served []schema.GroupVersion
	CA     []byte // PEM
}

func (APIServices) Name() string { return "apiservice-registration-controller" }

func (APIServices) Owns() []control.Owned {
	return []control.Owned{{Kind: apiServiceKind}, {Kind: configMapKind}}
}

// FirstKey is what to plan at the start.
func (APIServices) FirstKey() store.Key { return store.Key{Kind: apiServiceKind, Name: "all"} }

func (a APIServices) Watches() []control.Watch {
	all := func(*store.Snapshot, store.Change) []store.Key { return []store.Key{a.FirstKey()} }
	system := func(_ *store.Snapshot, c store.Change) []store.Key {
		o := c.Object()
		if o.GetName() != metav1.NamespaceSystem && o.GetName() != extensionConfig {
			return nil
		}
		return []store.Key{a.FirstKey()}
	}
	return []control.Watch{
		{Kind: apiServiceKind, Keys: all}, {Kind: definitionKind, Keys: all},
		{Kind: namespaceKind, Keys: system}, {Kind: configMapKind, Keys: system},
	}
}

// Plan creates and removes what is listed. An APIService that somebody else made stays as it is.
func (a APIServices) Plan(w control.World, _ store.Key) (control.Plan, error) {
	var p control.Plan
	want := map[string]bool{}
	for _, gv := range append(slices.Clone(a.Served), defined(w.Snapshot)...) {
		s := listed(gv, slices.Contains(a.Served, gv))
		if want[s.Name] {
			continue
		}
		want[s.Name] = true
		live, ok := store.Get[*apiregistrationv1.APIService](w.Snapshot, "", s.Name)
		switch {
		case !ok:
			p.Create(s, "it is served here")
		case live.Labels[managedLabel] != "" && live.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(live.Spec, s.Spec):
			next := live.DeepCopy()
			next.Spec = s.Spec
			p.Update(next, "it was changed")
		}
	}
	for s := range store.List[*apiregistrationv1.APIService](w.Snapshot) {
		if s.Labels[managedLabel] != "" && !want[s.Name] && s.DeletionTimestamp == nil {
			p.Delete(s, "it is not served any more")
		}
	}
	a.config(&p, w.Snapshot)
	return p, nil
}

// config keeps the ConfigMap by which servers that extend the API know who passes requests on to them.
func (a APIServices) config(p *control.Plan, s *store.Snapshot) {
	ns, ok := store.Get[*corev1.Namespace](s, "", metav1.NamespaceSystem)
	if !ok || ns.DeletionTimestamp != nil {
		return
	}
	data := map[string]string{
		"client-ca-file": string(a.CA), "requestheader-client-ca-file": string(a.CA),
		"requestheader-allowed-names":        `["` + access.ProxyUser + `"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
	live, ok := store.Get[*corev1.ConfigMap](s, metav1.NamespaceSystem, extensionConfig)
	switch {
	case !ok:
		p.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: extensionConfig}, Data: data}, "every cluster has it")
	case live.DeletionTimestamp == nil && !equality.Semantic.DeepEqual(live.Data, data):
		next := live.DeepCopy()
		next.Data = data
		p.Update(next, "it was changed")
	}
}

// defined are the versions of groups that CustomResourceDefinitions define.
func defined(s *store.Snapshot) []schema.GroupVersion {
	var all []schema.GroupVersion
	for d := range store.List[*apiextensionsv1.CustomResourceDefinition](s) {
		for _, v := range d.Spec.Versions {
			if gv := (schema.GroupVersion{Group: d.Spec.Group, Version: v.Name}); v.Served && d.DeletionTimestamp == nil {
				all = append(all, gv)
			}
		}
	}
	return all
}

// listed is the APIService of what is served here, with Kubernetes' priorities.
func listed(gv schema.GroupVersion, own bool) *apiregistrationv1.APIService {
	s := &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: gv.Version + "." + gv.Group, Labels: map[string]string{managedLabel: "true"}},
		Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: 1000, VersionPriority: 100},
	}
	switch {
	case gv.Group == "":
		s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = 18000, 1
	case own:
		s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = 17000, 15
	}
	if own {
		s.Labels[managedLabel] = "onstart"
		if strings.HasPrefix(gv.Version, "v2") {
			s.Spec.VersionPriority = 30
		}
	}
	return s
}
