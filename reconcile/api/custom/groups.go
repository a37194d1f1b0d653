package custom

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// groups are the groups that are defined and served, by name, each with its versions, the one that is preferred first.
func groups(s *store.Snapshot) map[string]metav1.APIGroup {
	versions := map[string][]string{}
	for d := range store.List[*apiextensionsv1.CustomResourceDefinition](s) {
		if !established(d) {
			continue
		}
		for _, v := range d.Spec.Versions {
			if v.Served && !slices.Contains(versions[d.Spec.Group], v.Name) {
				versions[d.Spec.Group] = append(versions[d.Spec.Group], v.Name)
			}
		}
	}
	all := map[string]metav1.APIGroup{}
	for name, served := range versions {
		slices.SortFunc(served, func(a, b string) int { return -version.CompareKubeAwareVersionStrings(a, b) })
		g := metav1.APIGroup{Name: name}
		for _, v := range served {
			gv := schema.GroupVersion{Group: name, Version: v}
			g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v})
		}
		g.PreferredVersion = g.Versions[0]
		all[name] = g
	}
	return all
}

func established(d *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}
