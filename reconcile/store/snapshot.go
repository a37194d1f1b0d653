package store

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Snapshot is the state of the store at one revision. It never changes, costs nothing to take, and may be read from any
// number of goroutines. (Only that of a Tx changes, until its end: a list begun there shows what was there when it began.)
type Snapshot struct {
	kinds    Kinds
	revision Revision
	place    map[schema.GroupKind]int // in tables
	tables   forest[Object]           // a tree for each kind, by path
	indexes  []Index
	index    forest[struct{}] // a tree for each of indexes, by indexKey
}

// Revision is the one that the snapshot shows.
func (s *Snapshot) Revision() Revision { return s.revision }

// Kinds tells how objects are stored.
func (s *Snapshot) Kinds() Kinds { return s.kinds }

// Key is the key of o.
func (s *Snapshot) Key(o Object) Key { return s.kinds.Key(o) }

// Get returns the object at k.
func (s *Snapshot) Get(k Key) (Object, bool) {
	t, ok := s.table(k.Kind)
	if !ok {
		return nil, false
	}
	return t.Get(k.path())
}

// Len is the number of objects of a kind.
func (s *Snapshot) Len(kind schema.GroupKind) int {
	t, ok := s.table(kind)
	if !ok {
		return 0
	}
	return t.Len()
}

// Stored are the kinds of which there is, or was, an object, in order.
func (s *Snapshot) Stored() []schema.GroupKind {
	return slices.SortedFunc(maps.Keys(s.place), func(a, b schema.GroupKind) int {
		return Key{Kind: a}.Compare(Key{Kind: b})
	})
}

func (s *Snapshot) table(kind schema.GroupKind) (*tree[Object], bool) {
	i, ok := s.place[kind]
	if !ok {
		return nil, false
	}
	return s.tables.trees[i], true
}

// List returns what q selects: within a kind in the order of namespace and name.
func (s *Snapshot) List(q Query) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		s := s.still()
		match := func(o Object) bool { return !q.matches(o) || yield(o) }
		switch {
		case q.Index != "":
			s.indexed(q, match)
		case q.Kind.Empty():
			for _, kind := range s.Stored() {
				t, _ := s.table(kind)
				if !scan(t, q.namespacePrefix(), match) {
					return
				}
			}
		default:
			if t, ok := s.table(q.Kind); ok {
				scan(t, q.namespacePrefix(), match)
			}
		}
	}
}

func (q Query) namespacePrefix() string {
	if q.Namespace == "" {
		return ""
	}
	return q.Namespace + "/"
}

// From returns the objects of a kind whose key is k or comes after it: the rest of a list that was read in pages.
func (s *Snapshot) From(k Key) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		if t, ok := s.still().table(k.Kind); ok {
			t.Ascend(k.path(), func(_ string, o Object) bool { return yield(o) })
		}
	}
}

// scan calls visit for each object under prefix until it says no, and tells whether it never did.
func scan(t *tree[Object], prefix string, visit func(Object) bool) bool {
	whole := true
	t.Ascend(prefix, func(path string, o Object) bool {
		if !strings.HasPrefix(path, prefix) {
			return false
		}
		whole = visit(o)
		return whole
	})
	return whole
}

// indexed calls visit for each object that q's index has for q's value, until it says no.
func (s *Snapshot) indexed(q Query, visit func(Object) bool) {
	i := slices.IndexFunc(s.indexes, func(x Index) bool { return x.Name == q.Index })
	if i < 0 {
		return
	}
	prefix := q.prefix()
	s.index.trees[i].Ascend(prefix, func(key string, _ struct{}) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		kind, path := splitIndexKey(key[len(q.Value):])
		t, _ := s.table(kind)
		o, _ := t.Get(path)
		return visit(o)
	})
}

// Get returns the T with that name.
func Get[T Object](s *Snapshot, namespace, name string) (T, bool) {
	o, ok := s.Get(Key{Kind: kindOf[T](s.kinds), Namespace: namespace, Name: name})
	if !ok {
		var none T
		return none, false
	}
	return o.(T), true
}

// List returns the objects of type T that all of where select, in the order of namespace and name.
func List[T Object](s *Snapshot, where ...Where) iter.Seq[T] {
	q := Select(kindOf[T](s.kinds), where...)
	return func(yield func(T) bool) {
		for o := range s.List(q) {
			if !yield(o.(T)) {
				return
			}
		}
	}
}

// newSnapshot is an empty one, writable.
func newSnapshot(kinds Kinds, indexes []Index) *Snapshot {
	s := &Snapshot{kinds: kinds, place: map[schema.GroupKind]int{}, indexes: indexes}
	for range indexes {
		s.index.plant()
	}
	return s.writable()
}

// writable is a copy of s that apply may change, until it is finished.
func (s *Snapshot) writable() *Snapshot {
	w := *s.still()
	w.tables, w.index = w.tables.writable(), w.index.writable()
	return &w
}

func (s *Snapshot) finish() { s.tables.finish(); s.index.finish() }

// still is s as it is now, whatever is applied to s later.
func (s *Snapshot) still() *Snapshot {
	if s.tables.finished() {
		return s
	}
	now := *s
	now.finish()
	s.tables, s.index = now.tables.writable(), now.index.writable()
	return &now
}

// apply replaces old, which is the object at k, by new. Either may be nil.
func (s *Snapshot) apply(k Key, old, new Object) {
	i, ok := s.place[k.Kind]
	if !ok {
		i, s.place = s.tables.plant(), maps.Clone(s.place)
		s.place[k.Kind] = i
	}
	if t := s.tables.own(i); new != nil {
		t.Set(k.path(), new)
	} else {
		t.Delete(k.path())
	}
	for i, x := range s.indexes {
		was, is := x.values(old), x.values(new)
		if slices.Equal(was, is) {
			continue
		}
		t := s.index.own(i)
		for _, v := range was {
			t.Delete(indexKey(v, k))
		}
		for _, v := range is {
			t.Set(indexKey(v, k), struct{}{})
		}
	}
}
