package columns

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
)

// GitSources shows which commit is applied, and how it goes.
func GitSources() Table[*v1alpha1.GitSource] {
	return Table[*v1alpha1.GitSource]{
		header("Name,Ready,Ref,Applied,Objects:integer,Age,URL*,Path*,Status*"),
		func(g *v1alpha1.GitSource, now time.Time) []any {
			ready, status := "Unknown", ""
			if c := meta.FindStatusCondition(g.Status.Conditions, "Ready"); c != nil {
				ready, status = string(c.Status), c.Message
			}
			if g.Spec.Suspend {
				ready = "Suspended"
			}
			return []any{
				g.Name, ready, ref(g.Spec.Ref), applied(g), int64(g.Status.Objects), created(g, now),
				g.Spec.URL, or(g.Spec.Path, "."), status,
			}
		},
	}
}

const shortHash = 7 // what people read of a commit's hash

func short(hash string) string { return hash[:min(len(hash), shortHash)] }

func ref(r v1alpha1.GitRef) string { return or(or(r.Branch, r.Tag), or(short(r.Commit), "main")) }

func applied(g *v1alpha1.GitSource) string {
	if g.Status.Applied == nil {
		return none
	}
	return short(g.Status.Applied.Hash)
}

// Inventories shows which file brought how much.
func Inventories() Table[*v1alpha1.Inventory] {
	return Table[*v1alpha1.Inventory]{
		header("Name,Source,File,Objects:integer,Commit,Age"),
		func(i *v1alpha1.Inventory, now time.Time) []any {
			return []any{i.Name, i.Spec.Source, i.Spec.Path, int64(len(i.Spec.Objects)), short(i.Spec.Commit), created(i, now)}
		},
	}
}
