package disk

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// A crash between two commits is the same as a commit that did not happen. So a large transaction is cut short before each
// of its commits, opened again, perhaps cut short again while it is finished, and must be whole or not there at all.
func TestALargeTransactionCutShortAnywhereIsWholeOrNotThere(t *testing.T) {
	dir, m, r := t.TempDir(), storetest.NewModel(), storetest.Rand(t)
	crash := errors.New("a crash")
	b := open(t, dir, Options{})
	write(t, b, m, 5, small)
	whole, none := 0, 0
	for at := 0; ; at++ {
		n := 0
		b.commit = func(txn *badger.Txn, done func(error)) {
			if n++; n > at {
				txn.Discard()
				done(crash)
				return
			}
			txn.CommitWith(done)
		}
		ds := m.Large(r, 2000, 800)
		err := b.Append(t.Context(), m.Revision, ds)
		if err != nil && !errors.Is(err, crash) {
			t.Fatal(err)
		}
		shut(t, b)
		b = reopenCut(t, dir, r.IntN(4))
		switch b.state.revision {
		case m.Revision:
			none++
		default:
			whole++
			apply(t, m, ds)
		}
		compare(t, b, m)
		if gone, err := b.keys(pieces); err != nil || len(gone) > 0 {
			t.Errorf("cut before commit %d: %d pieces are left, %v", at, len(gone), err)
		}
		if err == nil {
			break
		}
	}
	shut(t, b)
	if none < 2 || whole < 3 {
		t.Errorf("%d times not there, %d times whole", none, whole)
	}
}

// reopenCut opens dir; if that needs commits, they fail after the first few, and then it opens dir again.
func reopenCut(t *testing.T, dir string, few int) *Backend {
	t.Helper()
	b := &Backend{dir: dir, opts: Options{}.complete(), codec: newCodec()}
	n := 0
	b.commit = func(txn *badger.Txn, done func(error)) {
		if n++; n > few {
			txn.Discard()
			done(fmt.Errorf("a crash at the %dth commit of opening", n))
			return
		}
		txn.CommitWith(done)
	}
	if b.start() != nil {
		return open(t, dir, Options{})
	}
	b.commit = (*badger.Txn).CommitWith
	return b
}
