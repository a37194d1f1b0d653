package disk

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
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
		if l.list = b.roster.state != st; l.list { // it lags, and is to be written anew
			l.found.seen = entries{}
		}
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
			yield(nil, b.explain(nil))
			return
		}
		if err := b.loaded(l.found); err != nil {
			yield(nil, err)
		}
	}
}

// loaded remembers what a Load has found that went well.
func (b *Backend) loaded(t tally) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = append(b.gone, t.gone...)
	if b.stopped() != nil || b.room(0) != nil {
		return nil
	}
	if err := b.dropUnlisted(); err != nil || t.seen == nil {
		return err
	}
	return b.relist(t.seen)
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
	list    bool // what is seen
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
			l.add(tally{stopped: err.Error()})
		}
	})
	var decoders sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		decoders.Go(func() {
			for x := range l.read {
				l.add(x.decode(l.codec, l.list))
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
	l.found.unreadable = append(l.found.unreadable, t.unreadable...)
	l.found.why = cmp.Or(l.found.why, t.why)
	l.found.stopped = cmp.Or(l.found.stopped, t.stopped)
	l.found.gone = append(l.found.gone, t.gone...)
	maps.Copy(l.found.seen, t.seen)
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

func (x *batch) decode(codec Codec, list bool) (t tally) {
	if list {
		t.seen = make(entries, len(x.records))
	}
	for _, r := range x.records {
		if o, err := t.add(r, codec); err == nil && o != nil {
			x.objects = append(x.objects, o)
		}
	}
	return t
}

// A tally is what was found in reading.
type tally struct {
	sum  uint64
	last store.Revision // the highest
	gone [][]byte       // keys of objects that are gone

	unreadable [][]byte // keys of what cannot be read
	why        error    // of the first of them
	stopped    string   // why not all was read
	seen       entries  // all that was read, if it is not nil
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
	if t.seen != nil {
		t.seen[string(r.key)] = uint64(revision)
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
		delete(t.seen, string(r.key))
		t.spoil(r, err)
		return nil, errSpoilt
	}
	o.SetResourceVersion(revision.String())
	return o, nil
}

func (t *tally) spoil(r record, err error) {
	t.unreadable = append(t.unreadable, bytes.Clone(r.key))
	if t.why == nil {
		t.why = err
	}
}

const different = "objects are missing, or of another revision than they should be"

// unread says what could not be read.
func (t tally) unread() (found []string) {
	switch n := len(t.unreadable); n {
	case 0:
	case 1:
		found = append(found, fmt.Sprintf("%s cannot be read: %v", parseKey(t.unreadable[0]), t.why))
	default:
		found = append(found, fmt.Sprintf("%d objects cannot be read, such as %s: %v", n, parseKey(t.unreadable[0]), t.why))
	}
	if t.stopped != "" {
		found = append(found, "Badger stopped reading: "+t.stopped)
	}
	return found
}

// against says what is wrong if st is what should have been read.
func (t tally) against(st state) []string {
	found := t.unread()
	if len(found) == 0 && t.sum != st.sum {
		return []string{different}
	}
	return found
}
