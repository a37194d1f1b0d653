package decode

import (
	"container/list"
	"slices"
	"sync"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A Cache remembers what was decoded, by the hash of the file, and forgets what was not asked for the longest. What it
// holds was without errors. All that use it must mean the same Kinds. It is safe for concurrent use.
type Cache struct {
	mu    sync.Mutex
	max   int64
	size  int64
	order *list.List // of *cached, the latest first
	known map[cacheKey]*list.Element
}

// A cacheKey says how the content was read, too: JSON is not read as YAML.
type cacheKey struct {
	blob tree.Hash
	json bool
}

type cached struct {
	key       cacheKey
	path      string
	size      int64
	documents []Document
	notes     []Note
}

// A decoded document takes about this many times the memory of its YAML.
const memoryFactor = 8

// NewCache makes a cache that takes about max bytes of memory.
func NewCache(max int64) *Cache {
	return &Cache{max: max, order: list.New(), known: map[cacheKey]*list.Element{}}
}

// File is File, remembered by the hash of the content. read is called only if the content is needed; its error is
// returned.
func (c *Cache) File(path string, blob tree.Hash, kinds Kinds, read func() ([]byte, error)) (Result, error) {
	key := cacheKey{blob, isJSON(path)}
	if r, ok := c.get(path, key); ok {
		return r, nil
	}
	data, err := read()
	if err != nil {
		return Result{}, err
	}
	r := File(path, data, kinds)
	if len(r.Errors) == 0 {
		c.put(&cached{key, path, int64(len(data))*memoryFactor + 512, r.Documents, r.Notes})
	}
	return r, nil
}

func (c *Cache) get(path string, key cacheKey) (Result, bool) {
	c.mu.Lock()
	el, ok := c.known[key]
	if !ok {
		c.mu.Unlock()
		return Result{}, false
	}
	c.order.MoveToFront(el)
	hit := el.Value.(*cached)
	c.mu.Unlock()

	r := Result{Documents: hit.documents, Notes: hit.notes}
	if hit.path != path {
		r.Documents, r.Notes = slices.Clone(r.Documents), slices.Clone(r.Notes)
		for i := range r.Documents {
			r.Documents[i].Origin.Path = path
		}
		for i := range r.Notes {
			r.Notes[i].Path = path
		}
	}
	return r, true
}

func (c *Cache) put(e *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[e.key]; ok || e.size > c.max {
		return
	}
	c.known[e.key] = c.order.PushFront(e)
	for c.size += e.size; c.size > c.max; {
		oldest := c.order.Remove(c.order.Back()).(*cached)
		delete(c.known, oldest.key)
		c.size -= oldest.size
	}
}
