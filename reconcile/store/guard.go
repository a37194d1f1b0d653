package store

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// guard finds readers that write. A nil guard does nothing.
type guard struct {
	mu   sync.Mutex
	sums map[Object]uint64
}

func newGuard() *guard { return &guard{sums: map[Object]uint64{}} }

func (g *guard) see(o Object) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sums[o] = sum(o)
}

// replace checks what ds replaced, and sees what it brought.
func (g *guard) replace(ds []Delta) {
	if g == nil {
		return
	}
	for _, d := range ds {
		for _, c := range d.Changes {
			if c.Old != nil {
				g.mu.Lock()
				g.verify(c.Old)
				delete(g.sums, c.Old)
				g.mu.Unlock()
			}
			if c.New != nil {
				g.see(c.New)
			}
		}
	}
}

// check checks all live objects.
func (g *guard) check() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for o := range g.sums {
		g.verify(o)
	}
}

func (g *guard) verify(o Object) {
	if was, ok := g.sums[o]; ok && was != sum(o) {
		b, _ := json.Marshal(o)
		panic(fmt.Sprintf("store: somebody changed a stored object: %s", b))
	}
}

func sum(o Object) uint64 {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return xxhash.Sum64(b)
}
