// Package target writes tables of the outside world (maps in the kernel, mostly) as somebody wants them: what is there and
// what is wanted make a plan, a plan is carried out in a safe order, and carrying it out again changes nothing.
package target

import (
	"context"
	"fmt"
	"slices"
)

// A Key of a table. Its order is that of plans, so that they come out the same each time.
type Key[K any] interface {
	comparable
	Compare(K) int
}

// A Target is a table outside of this process. It is safe for concurrent use.
type Target[K Key[K], V comparable] interface {
	// Put makes v the value of k, at once and as a whole: a reader sees the old value or the new one.
	Put(ctx context.Context, k K, v V) error

	// Delete removes k. It is no error if it is not there.
	Delete(ctx context.Context, k K) error

	// All is what the table holds, in no order. What is written meanwhile may be in it or not; what is not, is, once.
	All(ctx context.Context) ([]Entry[K, V], error)
}

// An Entry is one row of a table.
type Entry[K Key[K], V comparable] struct {
	Key   K
	Value V
}

// A Step is one write.
type Step[K Key[K], V comparable] struct {
	Delete bool
	Entry[K, V]
}

// Sort orders rows by key, as Plan wants them. Rows of one key keep their order.
func Sort[K Key[K], V comparable](rows []Entry[K, V]) {
	slices.SortStableFunc(rows, func(a, b Entry[K, V]) int { return a.Key.Compare(b.Key) })
}

// Plan is what makes a table that holds have hold want: first the puts, then the deletes, so that nothing is missing in
// between. Both are sorted, with no key twice. The plan for what is there already is empty.
func Plan[K Key[K], V comparable](have, want []Entry[K, V]) []Step[K, V] {
	var puts, deletes []Step[K, V]
	for len(have) > 0 || len(want) > 0 {
		switch c := order(have, want); {
		case c < 0:
			deletes = append(deletes, Step[K, V]{Delete: true, Entry: have[0]})
			have = have[1:]
		case c > 0:
			puts = append(puts, Step[K, V]{Entry: want[0]})
			want = want[1:]
		default:
			if have[0] != want[0] {
				puts = append(puts, Step[K, V]{Entry: want[0]})
			}
			have, want = have[1:], want[1:]
		}
	}
	return append(puts, deletes...)
}

// order compares the first keys; what has ended comes after everything.
func order[K Key[K], V comparable](a, b []Entry[K, V]) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].Key.Compare(b[0].Key)
}

// Execute carries steps out, in their order, and stops at the first that fails. They may be carried out again.
func Execute[K Key[K], V comparable](ctx context.Context, t Target[K, V], steps []Step[K, V]) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.Delete {
			if err := t.Delete(ctx, s.Key); err != nil {
				return fmt.Errorf("delete %v: %w", s.Key, err)
			}
		} else if err := t.Put(ctx, s.Key, s.Value); err != nil {
			return fmt.Errorf("put %v: %w", s.Key, err)
		}
	}
	return nil
}

// Read is what t holds, sorted.
func Read[K Key[K], V comparable](ctx context.Context, t Target[K, V]) ([]Entry[K, V], error) {
	rows, err := t.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read a table: %w", err)
	}
	Sort(rows)
	return rows, nil
}

// Sync makes t hold want (sorted) and nothing else.
func Sync[K Key[K], V comparable](ctx context.Context, t Target[K, V], want []Entry[K, V]) error {
	have, err := Read(ctx, t)
	if err != nil {
		return err
	}
	return Execute(ctx, t, Plan(have, want))
}
