package disk

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// marked encodes with a mark that can be changed.
type marked struct {
	Codec
	mark byte
}

func (m *marked) Encode(o store.Object) ([]byte, error) {
	data, err := m.Codec.Encode(o)
	return append([]byte{m.mark}, data...), err
}

func (m *marked) Decode(data []byte) (store.Object, error) { return m.Codec.Decode(data[1:]) }

func TestWhatIsOutdatedIsEncodedAnewAtItsRevision(t *testing.T) {
	dir, c := t.TempDir(), &marked{newCodec(), 'a'}
	b, err := Open(dir, c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := storetest.NewModel()
	write(t, b, m, 30, storetest.Sizes{Deltas: 3, Changes: 30, Bytes: 500, Keys: 400})
	kinds := map[store.Key]int{}
	for k := range m.Objects {
		kinds[store.Key{Kind: k.Kind}]++
	}
	c.mark = 'b'
	outdated := func(data []byte) bool { return data[0] != 'b' }
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // beside it there are writes
		defer cancel()
		write(t, b, m, 20, storetest.Sizes{Deltas: 3, Changes: 10, Bytes: 500, Keys: 400})
	})
	rewritten := 0
	for more := true; more; more = ctx.Err() == nil {
		for k := range kinds {
			n, err := b.Rewrite(t.Context(), k.Kind, outdated)
			if rewritten += n; err != nil {
				t.Fatal(err)
			}
		}
	}
	wg.Wait()
	if rewritten == 0 {
		t.Fatal("nothing was encoded anew")
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
	shut(t, b)

	b, err = Open(dir, c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, b)
	compare(t, b, m)
	if err := b.each(objects, func(key, value []byte) {
		if _, data, err := parseValue(bytes.Clone(key), value); err != nil || len(data) > 0 && data[0] != 'b' {
			t.Errorf("%s: %v, or it has the old mark", key, err)
		}
	}); err != nil {
		t.Error(err)
	}
}
