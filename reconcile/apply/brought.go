package apply

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Brought says from where an object came.
type Brought struct {
	Source    Source
	Path      string
	Line      int // of the document
	Policy    v1alpha1.DriftPolicy
	Suspended bool
}

// BroughtBy tells from which source the object at k came; false if from none, or from one that is gone.
func BroughtBy(s *store.Snapshot, k store.Key) (Brought, bool) {
	for inv := range Listing(s, k) {
		g, ok := store.Get[*v1alpha1.GitSource](s, inv.Namespace, inv.Spec.Source)
		if !ok || g.DeletionTimestamp != nil {
			continue
		}
		e, _ := Entry(inv, k)
		return Brought{
			Source: SourceOf(g), Path: inv.Spec.Path, Line: int(e.Line),
			Policy: cmp.Or(g.Spec.DriftPolicy, v1alpha1.DriftRevert), Suspended: g.Spec.Suspend,
		}, true
	}
	return Brought{}, false
}

func (b Brought) String() string { return fmt.Sprintf("source %s, %s:%d", b.Source, b.Path, b.Line) }

// Taken are the fields that b's source owns of old, and not of new any more: whoever wrote new has changed or removed them.
func (b Brought) Taken(new, old store.Object) ([]string, error) {
	was, is := owners(old, b.Source.Manager()), owners(new, b.Source.Manager())
	if bytes.Equal(was, is) {
		return nil, nil
	}
	before, err := fieldSet(was)
	if err != nil {
		return nil, err
	}
	after, err := fieldSet(is)
	if err != nil {
		return nil, err
	}
	var taken []string
	before.Difference(after).Leaves().Iterate(func(p fieldpath.Path) {
		taken = append(taken, strings.TrimPrefix(p.String(), "."))
	})
	return taken, nil
}

// owners are the fields that manager applied, as they are written.
func owners(o store.Object, manager string) []byte {
	for _, m := range o.GetManagedFields() {
		if m.Manager == manager && m.Operation == metav1.ManagedFieldsOperationApply && m.Subresource == "" && m.FieldsV1 != nil {
			return m.FieldsV1.GetRawBytes()
		}
	}
	return nil
}

func fieldSet(raw []byte) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if len(raw) == 0 {
		return set, nil
	}
	if err := set.FromJSON(bytes.NewReader(raw)); err != nil {
		return nil, fmt.Errorf("read the owned fields: %w", err)
	}
	return set, nil
}

// Writing is what to tell who writes those fields: a warning, or, if it is refused, why.
func (b Brought) Writing(taken []string) (warning string, refused error) {
	const shown = 3
	which := strings.Join(taken[:min(len(taken), shown)], ", ")
	verb := "is"
	if len(taken) > 1 {
		verb = "are"
	}
	if n := len(taken) - shown; n > 0 {
		which += fmt.Sprintf(" and %d more", n)
	}
	which += fmt.Sprintf(" %s owned by Git (%s)", verb, b)
	if b.Policy == v1alpha1.DriftDeny {
		return "", fmt.Errorf("%s, which denies changes by anybody else: change it there", which)
	}
	return which + ": " + b.consequence("what you wrote will be put back", "what you wrote stays until a commit changes that manifest"), nil
}

// Deleting is what to tell who deletes the object.
func (b Brought) Deleting() (warning string, refused error) {
	which := fmt.Sprintf("this object is owned by Git (%s)", b)
	if b.Policy == v1alpha1.DriftDeny {
		return "", fmt.Errorf("%s, which denies its deletion by anybody else: delete it there", which)
	}
	return which + ": " + b.consequence("it will be made again", "it stays away until a commit changes that manifest"), nil
}

func (b Brought) consequence(revert, keep string) string {
	switch {
	case b.Policy == v1alpha1.DriftKeep:
		return keep
	case b.Suspended:
		return revert + " when the source, which is suspended, is resumed"
	}
	return revert
}
