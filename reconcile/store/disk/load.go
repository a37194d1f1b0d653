package disk

import (
	"bytes"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Load implements store.Backend. The error that ends the sequence is a *Damage if objects are missing or cannot be read.
func (b *Backend) Load() (store.Revision, iter.Seq2[store.Object, error]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state.revision, func(yield func(store.Object, error) bool) {
		st, txn := b.view()
		defer txn.Discard()
		l := newLoader(b.codec)
		l.start(txn)
		defer l.end()
		for x := range l.decoded {
			for _, o := range x.objects {
				if !yield(o, nil) {
					return
				}
			}
			l.giveBack(x)
		}
		if found := l.found.against(st); len(found) > 0 {
			yield(nil, &Damage{Dir: b.dir, Found: found})
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.gone = append(b.gone, l.found.gone...)
	}
}

// view is the state, and a transaction that reads what it sums up.
func (b *Backend) view() (state, *badger.Txn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.db.NewTransaction(false)
}

// A loader reads in one goroutine, and decodes in as many as there are processors.
type loader struct {
	codec   Codec
	read    chan *batch
	decoded chan *batch
	free    chan *batch
	stop    chan struct{}
	wg      sync.WaitGroup

	mu    sync.Mutex
	found tally
}

func newLoader(codec Codec) *loader {
	const ahead = 8
	return &loader{codec: codec, read: make(chan *batch, ahead), decoded: make(chan *batch, ahead), free: make(chan *batch, ahead),
		stop: make(chan struct{})}
}

// start starts the goroutines, which end when all is decoded, or with end.
func (l *loader) start(txn *badger.Txn) {
	l.wg.Go(func() {
		defer close(l.read)
		if err := guarded(func() error { return l.readAll(txn) }); err != nil {
			l.add(tally{spoilt: []string{"Badger stopped reading: " + err.Error()}})
		}
	})
	var decoders sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		decoders.Go(func() {
			for x := range l.read {
				l.add(x.decode(l.codec))
				select {
				case l.decoded <- x:
				case <-l.stop:
				}
			}
		})
	}
	l.wg.Go(func() {
		decoders.Wait()
		close(l.decoded)
	})
}

func (l *loader) end() {
	close(l.stop)
	l.wg.Wait()
}

func (l *loader) add(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found.sum += t.sum
	l.found.spoilt = append(l.found.spoilt, t.spoilt...)
	l.found.gone = append(l.found.gone, t.gone...)
}

// readAll copies the objects into batches: what Badger hands out is good only for a moment.
func (l *loader) readAll(txn *badger.Txn) error {
	x := l.take()
	err := scan(txn, objects, func(key, value []byte) error {
		if x.add(key, value); len(x.records) < batchSize {
			return nil
		}
		err := l.send(x)
		x = l.take()
		return err
	})
	if err != nil {
		return err
	}
	return l.send(x)
}

func (l *loader) send(x *batch) error {
	select {
	case l.read <- x:
		return nil
	case <-l.stop:
		return store.ErrStopped // nobody listens any more
	}
}

func (l *loader) take() *batch {
	select {
	case x := <-l.free:
		return x
	default:
		return &batch{}
	}
}

func (l *loader) giveBack(x *batch) {
	clear(x.objects)
	x.data, x.records, x.objects = x.data[:0], x.records[:0], x.objects[:0]
	select {
	case l.free <- x:
	default:
	}
}

// A batch is what goes from goroutine to goroutine.
type batch struct {
	data    []byte // what the records are made of
	records []record
	objects []store.Object
}

const batchSize = 64

func (x *batch) add(key, value []byte) {
	start, middle := len(x.data), len(x.data)+len(key)
	x.data = append(append(x.data, key...), value...)
	x.records = append(x.records, record{x.data[start:middle:middle], x.data[middle:]})
}

func (x *batch) decode(codec Codec) (t tally) {
	for _, r := range x.records {
		if o, err := t.add(r, codec); err == nil && o != nil {
			x.objects = append(x.objects, o)
		}
	}
	return t
}

// A tally is what was found in reading.
type tally struct {
	sum    uint64
	last   store.Revision // the highest
	spoilt []string       // what cannot be read, a line each
	gone   [][]byte       // keys of objects that are gone
}

// check counts the object in r, and returns its revision and what is encoded: nothing if it is gone.
func (t *tally) check(r record) (store.Revision, []byte, error) {
	revision, data, err := parseValue(r.key, r.value)
	if err != nil {
		t.spoil(r, err)
		return 0, nil, err
	}
	t.last = max(t.last, revision)
	if len(data) == 0 {
		t.gone = append(t.gone, bytes.Clone(r.key))
		return revision, nil, nil
	}
	t.sum += fingerprint(r.key, revision)
	return revision, data, nil
}

// add counts and decodes the object in r: nil if it is gone. What it cannot read it notes and returns errSpoilt.
func (t *tally) add(r record, codec Codec) (store.Object, error) {
	revision, data, err := t.check(r)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	o, err := codec.Decode(data)
	if err != nil {
		t.sum -= fingerprint(r.key, revision)
		t.spoil(r, err)
		return nil, errSpoilt
	}
	o.SetResourceVersion(revision.String())
	return o, nil
}

func (t *tally) spoil(r record, err error) {
	t.spoilt = append(t.spoilt, fmt.Sprintf("%s cannot be read: %v", parseKey(r.key), err))
}

// against says what is wrong if st is what should have been read.
func (t tally) against(st state) []string {
	if len(t.spoilt) == 0 && t.sum != st.sum {
		return []string{"objects are missing, or of another revision than they should be"}
	}
	return t.spoilt
}
