package apply

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// rights checks the plan of a source that acts as a service account by what that may: as things are, not as the commit would
// make them.
func (p *preparation) rights() {
	if p.Source.Allow == nil || p.Source.Allow.ServiceAccount == "" {
		return
	}
	for _, i := range p.plan.Items {
		for _, w := range p.writes(i) {
			if err := access.AccountMay(p.s, p.Source.Namespace, p.Source.Allow.ServiceAccount, w); err != nil {
				p.fail(i.Origin, "", "%s: source %s may not: %s", i.Key, p.Source, err)
				break
			}
		}
	}
}

// writes are what carrying out an item writes. An object that takes another's place needs both.
func (p *preparation) writes(i Item) []access.Write {
	w := access.Write{Namespace: i.Key.Namespace, Name: i.Key.Name, Resource: p.resource(i)}
	create, patch, remove := w, w, w
	create.Verb, create.New = "create", i.next
	patch.Verb, patch.New, patch.Old = "patch", i.next, i.live
	remove.Verb = "delete"
	switch i.Op {
	case Create:
		return []access.Write{create}
	case Update:
		return []access.Write{patch}
	case Replace:
		return []access.Write{remove, create}
	case Prune:
		return []access.Write{remove}
	}
	return nil
}

func (p *preparation) resource(i Item) schema.GroupResource {
	for _, o := range []store.Object{i.next, i.live} {
		if o == nil {
			continue
		}
		if k := p.kinds.Of(o); k != nil {
			return k.Resource()
		}
	}
	return schema.GroupResource{Group: i.Key.Kind.Group, Resource: i.Key.Kind.Kind} // which no role names
}
