package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A Request is what to plan.
type Request struct {
	Source Source
	Change gitsource.Change
	// Confirmed: whoever asks knows that much is deleted.
	Confirmed bool
	// Locate finds the line of a field of a document; nil: that of the document.
	Locate func(decode.Origin, string) int
	// Claimed tells whether another source wants an object which this one is about to prune: then it is left for it.
	Claimed func(store.Key) bool
	// Before is an earlier plan for the same change: what it prepared on the same ground is not prepared again. May be nil.
	Before *Plan

	Now  time.Time
	Rand *rand.Rand // for UIDs
}

// preparation is one run of Prepare.
type preparation struct {
	*Applier
	Request
	s      *store.Snapshot // as it is
	over   *store.Snapshot // with what the commit brings that others are admitted by, and what it takes of quotas
	kinds  scheme.Kinds    // with those that the commit defines
	plan   *Plan
	want   map[store.Key]bool
	before map[store.Key]Item
	ready  map[store.Key]planned // of the grounds

	policies *admit.Policies // on over
	errs     decode.Errors
}

// planned is an Item, and whether it can be applied.
type planned struct {
	item Item
	ok   bool
}

// Prepare makes the plan for a change on a snapshot. The error is a *Refusal with all that is wrong, or wraps ErrPrune.
func (a *Applier) Prepare(s *store.Snapshot, r Request) (*Plan, error) {
	own := *a // it learns the kinds that the change defines
	p := &preparation{
		Applier: &own, Request: r, s: s, want: map[store.Key]bool{}, before: map[store.Key]Item{}, ready: map[store.Key]planned{},
		plan: &Plan{Source: r.Source, Commit: r.Change.Commit, Notes: slices.Clone(r.Change.Notes), Manifests: r.Change.Manifests},
	}
	if r.Before != nil {
		for _, i := range r.Before.Items {
			p.before[i.Key] = i
		}
	}
	p.define()
	for _, f := range r.Change.Files {
		for _, d := range f.Documents {
			p.want[p.key(d)] = true
		}
	}
	p.policies = a.chain.Policies(func() *store.Snapshot { return p.over })
	p.removals()
	p.overlay()
	for _, f := range r.Change.Files {
		p.file(f)
	}
	p.rights()
	slices.SortStableFunc(p.plan.Items, compareItems)
	p.warn()
	if len(p.errs) > 0 {
		return nil, &Refusal{p.errs.Sort(), r.Change.Manifests}
	}
	return p.plan, p.guard()
}

// define learns the kinds that the change defines, also where it defines one anew.
func (p *preparation) define() {
	var defined []store.Object
	for _, f := range p.Change.Files {
		for _, d := range f.Documents {
			if d.Object.GetKind() != "CustomResourceDefinition" {
				continue
			}
			if o, err := p.scheme.Typed(d.Object); err == nil {
				p.scheme.Default(o)
				defined = append(defined, o)
			}
		}
	}
	p.over = p.s.With(defined...)
	p.kinds = p.scheme.In(p.over)
	p.patcher = p.patcher.In(p.kinds)
}

// overlay plans what others are admitted by first, so that the rest is planned on a state that has it. What is wrong with such
// an object is said of it alone: others find it there.
func (p *preparation) overlay() {
	var gone []store.Key
	for _, i := range p.plan.Items {
		if i.Op == Prune && admit.Ground(i.Key.Kind) {
			gone = append(gone, i.Key)
		}
	}
	p.over = p.over.Without(gone...)
	var grounds []decode.Document
	for _, f := range p.Change.Files {
		for _, d := range f.Documents {
			if admit.Ground(p.key(d).Kind) {
				grounds = append(grounds, d)
			}
		}
	}
	slices.SortStableFunc(grounds, func(a, b decode.Document) int {
		return cmp.Compare(rank(p.key(a).Kind.Kind), rank(p.key(b).Kind.Kind))
	})
	for _, d := range grounds {
		k := p.key(d)
		if _, twice := p.ready[k]; twice {
			continue
		}
		item, ok := p.document(d)
		p.ready[k] = planned{item, ok}
		o := item.next
		if !ok && item.live == nil {
			o, _ = p.scheme.Typed(d.Object)
			if o != nil {
				o.SetNamespace(k.Namespace)
			}
		}
		if o != nil {
			p.over = p.over.With(o)
		}
	}
}

func (p *preparation) key(d decode.Document) store.Key {
	return keyOf(d.ID(p.kinds, p.Source.Default))
}

// fail notes an error at a field of a document; an empty field is the document.
func (p *preparation) fail(o decode.Origin, path, format string, args ...any) {
	line := o.Line
	if path != "" && p.Locate != nil {
		line = p.Locate(o, path)
	}
	p.errs = append(p.errs, decode.Error{Path: o.Path, Line: line, Message: fmt.Sprintf(format, args...)})
}

// file plans the documents of one file, and its inventory.
func (p *preparation) file(f gitsource.File) {
	inv := inventoryOf(p.Source, p.Change.Commit, f)
	for _, d := range f.Documents {
		item, ok := p.planned(d)
		if !ok {
			continue
		}
		p.plan.Items = append(p.plan.Items, item)
		e := v1alpha1.InventoryObject{Group: item.Key.Kind.Group, Kind: item.Key.Kind.Kind, Namespace: item.Key.Namespace, Name: item.Key.Name, Line: int32(d.Origin.Line)}
		if o := cmp.Or(item.next, item.live); o != nil && item.Op != Replace {
			e.UID = string(o.GetUID())
		}
		inv.Spec.Objects = append(inv.Spec.Objects, e)
	}
	live, ok := store.Get[*v1alpha1.Inventory](p.s, inv.Namespace, inv.Name)
	switch {
	case len(inv.Spec.Objects) == 0 && ok:
		p.plan.emptied = append(p.plan.emptied, live)
	case len(inv.Spec.Objects) > 0:
		p.plan.inventories = append(p.plan.inventories, inv)
	}
}

// planned is the plan for a document, which may have been made already.
func (p *preparation) planned(d decode.Document) (Item, bool) {
	if r, ok := p.ready[p.key(d)]; ok && r.item.doc.Object == d.Object {
		return r.item, r.ok
	}
	return p.document(d)
}

// document plans one object. False: it cannot be applied, and the reason is noted.
func (p *preparation) document(d decode.Document) (Item, bool) {
	k := p.key(d)
	item := Item{Key: k, Origin: d.Origin, doc: d}
	live, there := p.s.Get(k)
	if there {
		item.live = live
	}
	if b, ok := p.before[k]; ok && b.live == item.live && b.doc.Object == d.Object && b.Op != Prune {
		b.Origin = d.Origin
		return b, p.mine(&item)
	}
	if !p.allowed(item) || !p.mine(&item) {
		return item, false
	}
	if there && live.GetDeletionTimestamp() != nil {
		p.fail(d.Origin, "metadata.name", "%s is being deleted: apply it again when it is gone", k)
		return item, false
	}
	kind, live, ok := p.served(item)
	if !ok {
		return item, false
	}
	doc := inNamespace(d.Object, k.Namespace)
	next, err := p.patcher.Apply(live, doc, p.Source.Manager(), true, p.Now)
	if err != nil {
		p.fail(d.Origin, "", "%s", short(err.Error()))
		return item, false
	}
	switch {
	case !there:
		return p.create(item, kind, next)
	case next == live:
		item.Op = Unchanged
		return item, true
	}
	return p.update(item, kind, next, live)
}

func (p *preparation) create(item Item, kind *scheme.Kind, next store.Object) (Item, bool) {
	uid := control.UID(p.Rand)
	next.SetUID(uid)
	kind.Default(next)
	r := p.asked(item, admit.For(kind, admit.Create, nil, next))
	ok := p.changed(item, r)
	kind.PrepareCreate(next, uid, p.Now)
	ok = p.valid(item, kind.Validate(next)) && ok
	item.Op, item.next = Create, stored(kind, next)
	item.warnings = kind.Warnings(next, nil)
	return item, p.judged(item, r, ok)
}

// asked has what is said of r told to the user.
func (p *preparation) asked(item Item, r *admit.Request) *admit.Request {
	r.Warn = func(text string) {
		p.plan.Notes = append(p.plan.Notes, decode.Note{Path: item.Origin.Path, Line: item.Origin.Line, Message: fmt.Sprintf("%s: %s", item.Key, text)})
	}
	return r.By(p.Source.Manager())
}

// changed has the chain change what r is about, and tells whether it is admitted so far.
func (p *preparation) changed(item Item, r *admit.Request) bool {
	if !p.admitted(item, p.chain.Mutate(p.over, r)) {
		return false
	}
	return p.agreed(item, p.policies.MutateRequest(context.Background(), r))
}

// agreed notes what policies say against an item, and tells whether that is nothing.
func (p *preparation) agreed(item Item, err error) bool {
	if err != nil {
		p.fail(item.Origin, "", "%s: %s", item.Key, err)
	}
	return err == nil
}

// admitted notes refusals, and tells whether there are none.
func (p *preparation) admitted(item Item, refused admit.Refusals) bool {
	for _, r := range refused {
		p.fail(item.Origin, r.Field, "%s: %s", item.Key, r.Err)
	}
	return len(refused) == 0
}

// judged asks the rest of the chain about an object that is ready to be written, and takes what it needs of quotas. Of what is
// wrong already, quotas need not be asked.
func (p *preparation) judged(item Item, r *admit.Request, ok bool) bool {
	if ok = p.admitted(item, p.chain.Validate(p.over, r)) && ok; !ok {
		return false
	}
	if !p.agreed(item, p.policies.ValidateRequest(context.Background(), r)) {
		return false
	}
	over, refused := p.chain.Charge(p.over, r)
	p.over = over
	return p.admitted(item, refused)
}

// update plans the change of live to next, both as the document's version has them.
func (p *preparation) update(item Item, kind *scheme.Kind, next, live store.Object) (Item, bool) {
	r := p.asked(item, admit.For(kind, admit.Update, live, next))
	admitted := p.changed(item, r)
	kind.PrepareUpdate(next, live)
	item.Op, item.next = Update, stored(kind, next)
	if errs := kind.ValidateUpdate(next, live); len(errs) > 0 {
		fresh := kind.Validate(next)
		if len(fresh) > 0 || next.GetAnnotations()[ReplaceAnnotation] != "true" {
			return item, p.valid(item, errs)
		}
		item.Op, item.next = Replace, nil // what is wrong is only that it was otherwise before
	}
	diff, err := p.patcher.Diff(live, next)
	if err != nil {
		p.fail(item.Origin, "", "%s", err)
		return item, false
	}
	item.Diff = diff
	item.warnings = kind.Warnings(next, live)
	return item, p.judged(item, r, admitted)
}

// warn notes what of valid objects has no effect.
func (p *preparation) warn() {
	for _, i := range p.plan.Items {
		for _, text := range i.warnings {
			p.plan.Notes = append(p.plan.Notes, decode.Note{Path: i.Origin.Path, Line: i.Origin.Line, Message: i.Key.String() + ": " + text})
		}
	}
}

// valid notes errs, and tells whether there are none.
func (p *preparation) valid(item Item, errs field.ErrorList) bool {
	for _, e := range errs {
		p.fail(item.Origin, e.Field, "%s: %s", item.Key, e)
	}
	return len(errs) == 0
}

// allowed checks the source's limits.
func (p *preparation) allowed(item Item) bool {
	a := p.Source.Allow
	if a == nil {
		return true
	}
	if len(a.Kinds) > 0 && !slices.Contains(a.Kinds, item.Key.Kind.Kind) {
		p.fail(item.Origin, "kind", "%s: source %s may bring only %s", item.Key, p.Source, strings.Join(a.Kinds, ", "))
		return false
	}
	ns := item.Key.Namespace
	if item.Key.Kind.Kind == "Namespace" {
		ns = item.Key.Name
	}
	if len(a.Namespaces) > 0 && !slices.Contains(a.Namespaces, ns) {
		p.fail(item.Origin, "metadata.namespace", "%s: source %s may write only in %s", item.Key, p.Source, strings.Join(a.Namespaces, ", "))
		return false
	}
	return true
}

// mine refuses an object of another source, and marks one of nobody as adopted.
func (p *preparation) mine(item *Item) bool {
	owned := false
	for inv := range Listing(p.s, item.Key) {
		if belongsTo(inv, p.Source) {
			owned = true
			continue
		}
		e, _ := Entry(inv, item.Key)
		p.fail(item.Origin, "metadata.name", "%s belongs to source %s/%s (%s:%d), source %s cannot have it too",
			item.Key, inv.Namespace, inv.Spec.Source, inv.Spec.Path, e.Line, p.Source)
		return false
	}
	item.Adopt = item.live != nil && !owned
	return true
}

// inNamespace is doc with its namespace filled in. What does not change is shared.
func inNamespace(doc *unstructured.Unstructured, namespace string) *unstructured.Unstructured {
	if doc.GetNamespace() == namespace {
		return doc
	}
	c := maps.Clone(doc.Object)
	meta, _ := c["metadata"].(map[string]any)
	meta = maps.Clone(meta)
	if namespace == "" {
		delete(meta, "namespace")
	} else {
		meta["namespace"] = namespace
	}
	c["metadata"] = meta
	return &unstructured.Unstructured{Object: c}
}

// removals plans what left the repository: what the inventories of files that changed or went list, and nobody wants.
func (p *preparation) removals() {
	touched := map[string]bool{}
	for _, f := range p.Change.Files {
		touched[inventoryName(p.Source, f.Path)] = true
	}
	for _, path := range p.Change.Gone {
		name := inventoryName(p.Source, path)
		if inv, ok := store.Get[*v1alpha1.Inventory](p.s, p.Source.Namespace, name); ok {
			touched[name] = true
			p.plan.emptied = append(p.plan.emptied, inv)
		}
	}
	if p.Change.All {
		for inv := range Inventories(p.s, p.Source) {
			if !touched[inv.Name] {
				touched[inv.Name] = true
				p.plan.emptied = append(p.plan.emptied, inv)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(touched)) {
		if inv, ok := store.Get[*v1alpha1.Inventory](p.s, p.Source.Namespace, name); ok {
			p.removed(inv)
		}
	}
}

func (p *preparation) removed(inv *v1alpha1.Inventory) {
	for _, e := range inv.Spec.Objects {
		k := entryKey(e)
		if p.want[k] {
			continue
		}
		item := Item{Op: Prune, Key: k, Origin: decode.Origin{Path: inv.Spec.Path, Line: int(e.Line)}}
		live, ok := p.s.Get(k)
		if !ok || e.UID != "" && string(live.GetUID()) != e.UID {
			continue // gone already, or somebody else's of the same name
		}
		item.live = live
		if !p.Source.Prune || live.GetAnnotations()[PruneAnnotation] == "disabled" || p.Claimed != nil && p.Claimed(k) {
			item.Op = Keep
		}
		if kind := p.kinds.Of(live); item.Op == Prune && kind != nil {
			p.agreed(item, p.policies.ValidateRequest(context.Background(), p.asked(item, admit.For(kind, admit.Delete, live, nil))))
		}
		p.plan.Items = append(p.plan.Items, item)
	}
}

// guard stops a commit that leaves a source without any object, or prunes more than half of a source of more than ten.
func (p *preparation) guard() error {
	gone := p.plan.Count(Prune)
	if gone == 0 || p.Confirmed {
		return nil
	}
	total := 0
	for inv := range Inventories(p.s, p.Source) {
		total += len(inv.Spec.Objects)
	}
	emptied := gone+p.plan.Count(Keep) >= total && len(p.want) == 0
	if !emptied && (total <= 10 || gone*2 <= total) {
		return nil
	}
	return fmt.Errorf("%w: %d of the %d objects of source %s leave the repository", ErrPrune, gone, total, p.Source)
}

// IsRefusal tells whether err says that the commit itself is at fault: trying again will not help.
func IsRefusal(err error) bool {
	_, invalid := errors.AsType[*gitsource.Invalid](err)
	_, refused := errors.AsType[*Refusal](err)
	return invalid || refused || errors.Is(err, ErrPrune)
}

var _ decode.Kinds = (*scheme.Scheme)(nil)
