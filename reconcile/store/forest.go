package store

import (
	"slices"

	"github.com/tidwall/btree"
)

// A tree is sorted by its keys. Its copies share what they do not change.
type tree[V any] = btree.Map[string, V]

const treeDegree = 8 // at most 15 items a node, which is what a write copies at each level

// A forest is a row of trees. It is finished, and may be read by anyone, or writable, by one at a time.
type forest[V any] struct {
	trees []*tree[V]
	mine  []bool // the trees that no other forest holds; nil if finished
}

func (f *forest[V]) finished() bool { return f.mine == nil }

func (f *forest[V]) finish() { f.mine = nil }

// writable is a copy that may be written to.
func (f *forest[V]) writable() forest[V] {
	return forest[V]{trees: slices.Clone(f.trees), mine: make([]bool, len(f.trees))}
}

// plant adds an empty tree and returns its place.
func (f *forest[V]) plant() int {
	f.trees = append(f.trees, btree.NewMap[string, V](treeDegree))
	f.mine = append(f.mine, true)
	return len(f.trees) - 1
}

// own is the tree at i to write to: a copy of it, unless no other forest holds it.
func (f *forest[V]) own(i int) *tree[V] {
	if !f.mine[i] {
		shared := *f.trees[i] // Copy writes to what it copies
		f.trees[i], f.mine[i] = shared.Copy(), true
	}
	return f.trees[i]
}
