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
	web := store.Key{Kind: schema.GroupKind{Kind: "Pod"}, Namespace: "hello", Name: "web"}
	d := &Damage{Dir: "/data", Found: []string{"it ends at revision 7, but 9 was acknowledged"}, Lost: []Loss{{web, 9, 6}, {web, 8, 0}, {web, 0, 5}}}
	want := `the store in /data is damaged:
  it ends at revision 7, but 9 was acknowledged
  Pod hello/web: revision 9 is missing, there is only revision 6
  Pod hello/web: revision 8 is missing
  Pod hello/web: revision 5 is back, though it was deleted
restore a backup, or start with --accept-loss to go on without what is missing; what comes from Git comes back by itself`
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
