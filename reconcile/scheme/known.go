package scheme

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// elsewhere are the kinds that Kubernetes has and this scheme may not: so that a user who asks for one is told that it is
// missing here, rather than that there is no such thing. The version is the newest.
const elsewhere = `
v1: ComponentStatus
certificates.k8s.io/v1: ClusterTrustBundle PodCertificateRequest
coordination.k8s.io/v1beta1: LeaseCandidate
internal.apiserver.k8s.io/v1alpha1: StorageVersion
lifecycle.k8s.io/v1alpha1: Eviction EvictionRequest
resource.k8s.io/v1: DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice
resource.k8s.io/v1alpha3: ResourcePoolStatusRequest
scheduling.k8s.io/v1alpha3: CompositePodGroup
scheduling.k8s.io/v1beta1: PodGroup Workload
storagemigration.k8s.io/v1: StorageVersionMigration
`

// known are the kinds of elsewhere.
func known() []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for line := range strings.Lines(strings.TrimSpace(elsewhere)) {
		version, kinds, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for kind := range strings.FieldsSeq(kinds) {
			all = append(all, schema.FromAPIVersionAndKind(version, kind))
		}
	}
	return all
}

// unknown says why gvk is not served.
func (s *Scheme) unknown(gvk schema.GroupVersionKind) error {
	in := gvk.GroupVersion().String()
	var served []schema.GroupVersionKind
	for _, k := range s.kinds {
		served = append(served, k.GroupVersionKind)
	}
	missing := known()
	for _, k := range missing {
		if k.GroupKind() == gvk.GroupKind() {
			return fmt.Errorf("kind %s (%s) is not supported yet", k.Kind, k.GroupVersion())
		}
	}
	for _, k := range served {
		if k.Kind == gvk.Kind {
			return fmt.Errorf("kind %s is in %s, not in %s", k.Kind, k.GroupVersion(), in)
		}
	}
	for _, k := range missing {
		if k.Kind == gvk.Kind {
			return fmt.Errorf("kind %s (%s) is not supported yet, and is not in %s", k.Kind, k.GroupVersion(), in)
		}
	}
	if k, ok := alike(gvk.Kind, append(served, missing...)); ok {
		if k.GroupVersion() == gvk.GroupVersion() {
			return fmt.Errorf("unknown kind %s in %s, did you mean %s?", gvk.Kind, in, k.Kind)
		}
		return fmt.Errorf("unknown kind %s in %s, did you mean %s in %s?", gvk.Kind, in, k.Kind, k.GroupVersion())
	}
	for _, k := range append(served, missing...) {
		if k.Group == gvk.Group {
			return fmt.Errorf("unknown kind %s in %s", gvk.Kind, in)
		}
	}
	return fmt.Errorf("unknown kind %s in %s: no CustomResourceDefinition serves it", gvk.Kind, in)
}

// alike finds the kind whose name is nearest to a mistyped one: at most a third of its letters may be wrong.
func alike(name string, kinds []schema.GroupVersionKind) (schema.GroupVersionKind, bool) {
	var found schema.GroupVersionKind
	best := len(name)/3 + 1
	for _, k := range kinds {
		if d := distance(strings.ToLower(name), strings.ToLower(k.Kind)); d < best {
			best, found = d, k
		}
	}
	return found, found.Kind != ""
}

// distance is how many letters have to be added, dropped, changed or swapped with their neighbour to make b of a.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differ := 0
			if a[i-1] != b[j-1] {
				differ = 1
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differ)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
