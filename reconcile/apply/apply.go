// Package apply brings documents from Git into the store: documents, what is live and what was applied before become a
// plan; the plan is prepared on an overlay (patched, defaulted, admitted, validated) until all that is wrong with it is
// known; and it is executed in one transaction, or not at all.
package apply

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/reconcile/admit"
	"github.com/mainstay-gitops/mainstay/reconcile/patch"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Annotations that a manifest may carry.
const (
	// ReplaceAnnotation: "true" has the object deleted and made anew when a field changes that cannot be changed.
	ReplaceAnnotation = "mainstay.dev/replace"
	// PruneAnnotation: "disabled" keeps the object when it leaves the repository.
	PruneAnnotation = "mainstay.dev/prune"
)

// A Source is who applies.
type Source struct {
	Namespace, Name string // of the GitSource
	UID             types.UID
	Default         string // namespace of documents that name none
	Allow           *v1alpha1.GitAllow
	Prune           bool
}

// SourceOf reads a GitSource.
func SourceOf(g *v1alpha1.GitSource) Source {
	return Source{
		Namespace: g.Namespace, Name: g.Name, UID: g.UID, Allow: g.Spec.Allow,
		Default: cmp.Or(g.Spec.Namespace, metav1.NamespaceDefault), Prune: g.Spec.Prune == nil || *g.Spec.Prune,
	}
}

func (s Source) String() string { return s.Namespace + "/" + s.Name }

// Manager is the field manager that owns what the source applies.
func (s Source) Manager() string { return "git:" + s.String() }

// Op is what a plan does to an object.
type Op string

const (
	Create    Op = "create"
	Update    Op = "update"
	Replace   Op = "replace"   // delete, and create when it is gone: a field changes that cannot be changed
	Unchanged Op = "unchanged" // nothing but the inventory
	Prune     Op = "prune"     // it left the repository
	Keep      Op = "keep"      // it left the repository, and stays: it is annotated, or another source has taken it
)

// An Item is what happens to one object.
type Item struct {
	Op     Op
	Key    store.Key
	Origin decode.Origin // where it stands, or stood
	Adopt  bool          // it was there, and belonged to nobody
	Diff   []patch.Difference

	live store.Object // as it was when this was decided; nil: it was not there
	next store.Object // to be written; nil for what is not
	doc  decode.Document

	warnings []string // what of it has no effect
}

// Live is the object as the plan found it; nil if it was not there.
func (i Item) Live() store.Object { return i.live }

// A Plan is all that a commit changes. It can be printed, and executed as long as what it was made on has not changed.
type Plan struct {
	Source    Source
	Commit    gitsource.Commit
	Items     []Item // in the order of Order
	Notes     []decode.Note
	Manifests int // files in the commit

	inventories []*v1alpha1.Inventory // to be written
	emptied     []*v1alpha1.Inventory // to be deleted
}

// Empty tells whether executing p would change no object.
func (p *Plan) Empty() bool {
	return !slices.ContainsFunc(p.Items, func(i Item) bool { return i.Op != Unchanged && i.Op != Keep })
}

// Count is how many items do op.
func (p *Plan) Count(op Op) int {
	n := 0
	for _, i := range p.Items {
		if i.Op == op {
			n++
		}
	}
	return n
}

// order ranks kinds: what others live in, are limited by or refer to comes first. All of a plan is written at once, but a
// quota must be as the plan has it before something is taken of it.
var order = []string{"Namespace", "CustomResourceDefinition", "LimitRange", "ResourceQuota", "PriorityClass", "GitSource", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "Secret", "ConfigMap", "Service"}

func rank(kind string) int {
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}

// compareItems puts what is pruned last.
func compareItems(a, b Item) int {
	gone := func(i Item) int {
		if i.Op == Prune || i.Op == Keep {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(gone(a), gone(b)), cmp.Compare(rank(a.Key.Kind.Kind), rank(b.Key.Kind.Kind)), a.Key.Compare(b.Key))
}

// ErrPrune says that a commit takes away so much that it may be an accident.
var ErrPrune = errors.New("this would delete much of what is there")

// A Refusal is all that keeps a commit from being applied.
type Refusal struct {
	Errors    decode.Errors
	Manifests int
}

// Error has a first line that sums up, and a line for each error.
func (r *Refusal) Error() string {
	files := "1 manifest"
	if n := r.Errors.Paths(); n != 1 {
		files = fmt.Sprintf("%d manifests", n)
	}
	what := "1 error"
	if n := len(r.Errors); n != 1 {
		what = fmt.Sprintf("%d errors", n)
	}
	return fmt.Sprintf("%s in %s\n%s", what, files, r.Errors)
}

// An Applier makes and executes plans. It may be used from any number of goroutines.
type Applier struct {
	scheme  *scheme.Scheme
	patcher *patch.Patcher
	chain   *admit.Chain
	assign  func(tx *store.Tx, old, new store.Object) error
}

// New makes an Applier. assign is called inside the transaction for each object that is about to be written: it gives it
// what must be given once, such as an address. It may be nil.
func New(s *scheme.Scheme, p *patch.Patcher, assign func(tx *store.Tx, old, new store.Object) error) *Applier {
	if assign == nil {
		assign = func(*store.Tx, store.Object, store.Object) error { return nil }
	}
	return &Applier{s, p, admit.New(s), assign}
}

func keyOf(id decode.ID) store.Key {
	k := store.Key{Namespace: id.Namespace, Name: id.Name}
	k.Kind.Group, k.Kind.Kind = id.Group, id.Kind
	return k
}

// short is the first line of a text, with the second if the first only announces it.
func short(s string) string {
	line, rest, _ := strings.Cut(s, "\n")
	if strings.HasSuffix(line, ":") && rest != "" {
		return line + " " + short(strings.TrimSpace(rest))
	}
	return line
}
