package disk

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestAKeyCanBeReadBack(t *testing.T) {
	for _, k := range []store.Key{
		{Kind: schema.GroupKind{Kind: "Pod"}, Namespace: "hello", Name: "web-1"},
		{Kind: schema.GroupKind{Kind: "Node"}, Name: "mine"},
		{Kind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, Name: "system:node"},
	} {
		if got := parseKey(objectKey(k)); got != k {
			t.Errorf("%+v is read back as %+v", k, got)
		}
	}
}

func TestAValueIsGoodOnlyAsItWasWrittenAndUnderItsKey(t *testing.T) {
	key := []byte("o//Pod/hello/web-1")
	v := objectValue(key, 7, []byte("an object"))
	r, data, err := parseValue(key, v)
	if err != nil || r != 7 || string(data) != "an object" {
		t.Errorf("%d %q %v", r, data, err)
	}
	for bit := range 8 * len(v) {
		spoilt := bytes.Clone(v)
		spoilt[bit/8] ^= 1 << (bit % 8)
		if _, _, err := parseValue(key, spoilt); err == nil {
			t.Errorf("bit %d flipped is not noticed", bit)
		}
	}
	for n := range v {
		if _, _, err := parseValue(key, v[:n]); err == nil {
			t.Errorf("cut to %d bytes is not noticed", n)
		}
	}
	if _, _, err := parseValue([]byte("o//Pod/hello/web-2"), v); err == nil {
		t.Error("another key is not noticed")
	}
}

func TestTheStateAndAClosingRecordCanBeReadBack(t *testing.T) {
	st := state{revision: 7, sum: 1 << 63}
	if got, err := decodeState(st.encode()); err != nil || got != st {
		t.Errorf("%+v, %v", got, err)
	}
	c := closed{after: st, pieces: 3, sum: 99}
	if got, err := decodeClosed(c.encode()); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestADamageSaysWhatIsMissingAndHowToMendIt(t *testing.T) {
	d := &Damage{Dir: "/data", Found: []string{"Pod hello/web cannot be read", "Node mine cannot be read"}}
	want := "the store in /data is damaged: Pod hello/web cannot be read; Node mine cannot be read " +
		"(start with --accept-loss to go on without what is missing; what comes from Git comes back by itself)"
	if diff := cmp.Diff(want, d.Error()); diff != "" {
		t.Error(diff)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(encodeRecords([]record{{[]byte("key"), []byte("value")}, {key: []byte("gone")}}))
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := decodeRecords(b)
		if err != nil {
			return
		}
		if again := encodeRecords(rs); !bytes.Equal(again, b) {
			t.Errorf("%x is read as %x", b, again)
		}
	})
}
