package target

import (
	"context"
	"sync"
)

// Memory is a Target in a Go map: the dataplane of simulations and tests.
type Memory[K Key[K], V comparable] struct {
	mu   sync.Mutex
	rows map[K]V
}

// NewMemory makes an empty table.
func NewMemory[K Key[K], V comparable]() *Memory[K, V] { return &Memory[K, V]{rows: map[K]V{}} }

// Put implements Target.
func (m *Memory[K, V]) Put(ctx context.Context, k K, v V) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[k] = v
	return nil
}

// Delete implements Target.
func (m *Memory[K, V]) Delete(ctx context.Context, k K) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, k)
	return nil
}

// All implements Target.
func (m *Memory[K, V]) All(ctx context.Context) ([]Entry[K, V], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := make([]Entry[K, V], 0, len(m.rows))
	for k, v := range m.rows {
		rows = append(rows, Entry[K, V]{k, v})
	}
	return rows, ctx.Err()
}

// Faulty is a Target whose writes fail when Fail says so: before they took effect or after, which a caller cannot tell.
type Faulty[K Key[K], V comparable] struct {
	Target[K, V]
	Fail func() (before, after error)
}

// Put implements Target.
func (f Faulty[K, V]) Put(ctx context.Context, k K, v V) error {
	return f.write(func() error { return f.Target.Put(ctx, k, v) })
}

// Delete implements Target.
func (f Faulty[K, V]) Delete(ctx context.Context, k K) error {
	return f.write(func() error { return f.Target.Delete(ctx, k) })
}

func (f Faulty[K, V]) write(do func() error) error {
	before, after := f.Fail()
	if before != nil {
		return before
	}
	if err := do(); err != nil {
		return err
	}
	return after
}
