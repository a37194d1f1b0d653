package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Volatile is a Backend that keeps deltas in a slice: for tests and simulations. It may be loaded again after its store
// is gone, as a disk may after a crash.
type Volatile struct {
	mu     sync.Mutex
	kinds  Kinds
	deltas []Delta
	fail   func([]Delta) error

	records map[string][]byte
}

// NewVolatile makes an empty backend.
func NewVolatile(kinds Kinds) *Volatile { return &Volatile{kinds: kinds, records: map[string][]byte{}} }

// FailWith lets appends fail: f is asked before each.
func (v *Volatile) FailWith(f func([]Delta) error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fail = f
}

// Deltas is all that was appended.
func (v *Volatile) Deltas() []Delta {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.deltas)
}

func (v *Volatile) end() Revision {
	if len(v.deltas) == 0 {
		return 0
	}
	return v.deltas[len(v.deltas)-1].Revision
}

// Append implements Backend.
func (v *Volatile) Append(_ context.Context, after Revision, ds []Delta) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail != nil {
		if err := v.fail(ds); err != nil {
			return err
		}
	}
	if after != v.end() {
		return fmt.Errorf("append: %w: its end is %d, not %d", ErrFenced, v.end(), after)
	}
	v.deltas = append(v.deltas, ds...)
	for _, d := range ds {
		for _, r := range d.Records {
			if len(r.Value) == 0 {
				delete(v.records, r.Key)
			} else {
				v.records[r.Key] = r.Value
			}
		}
	}
	return nil
}

// Load implements Backend.
func (v *Volatile) Load() (Revision, iter.Seq2[Object, error]) {
	v.mu.Lock()
	defer v.mu.Unlock()
	live := map[Key]Object{}
	for _, d := range v.deltas {
		for _, c := range d.Changes {
			if k := v.kinds.Key(c.Object()); c.New != nil {
				live[k] = c.New
			} else {
				delete(live, k)
			}
		}
	}
	return v.end(), func(yield func(Object, error) bool) {
		for _, o := range live {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Record implements Backend.
func (v *Volatile) Record(key string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.records[key]), nil
}

// RecordsUnder implements Backend.
func (v *Volatile) RecordsUnder(prefix string) iter.Seq2[Record, error] {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []Record
	for _, k := range slices.Sorted(maps.Keys(v.records)) {
		if strings.HasPrefix(k, prefix) {
			found = append(found, Record{k, slices.Clone(v.records[k])})
		}
	}
	return func(yield func(Record, error) bool) {
		for _, r := range found {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Close implements Backend.
func (v *Volatile) Close() error { return nil }
