package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// protoCodec is Kubernetes' protobuf with its envelope.
type protoCodec struct{ proto *protobuf.Serializer }

func newCodec() protoCodec {
	return protoCodec{protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)}
}

func (c protoCodec) Encode(o store.Object) ([]byte, error) { return runtime.Encode(c.proto, o) }

func (c protoCodec) Decode(data []byte) (store.Object, error) {
	o, _, err := c.proto.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return o.(store.Object), nil
}

// some is a model with objects in it.
func some(t *testing.T, groups int) *storetest.Model {
	t.Helper()
	m, r := storetest.NewModel(), storetest.Rand(t)
	for range groups {
		for _, d := range m.Group(r, storetest.Sizes{Deltas: 4, Changes: 50, Bytes: 3000, Keys: 2500}) {
			if err := m.Apply(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

func objects(m *storetest.Model) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for _, o := range m.Objects {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// written is a backup of m and files.
func written(t *testing.T, m *storetest.Model, files fs.FS) []byte {
	t.Helper()
	var b bytes.Buffer
	h := Head{Mainstay: "v1", Node: "mine", Taken: time.Unix(1e9, 0).UTC(), Revision: m.Revision, Objects: len(m.Objects)}
	if err := Write(&b, h, newCodec(), objects(m), files); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	m := some(t, 20)
	files := fstest.MapFS{
		"git-token":                      {Data: []byte("secret"), Mode: 0o600},
		"pki/ca.pem":                     {Data: []byte("key"), Mode: 0o400},
		"repositories/a.git/objects/big": {Data: bytes.Repeat([]byte("x"), 5<<20), Mode: 0o644},
		"repositories/a.git/empty":       {Mode: 0o644},
	}
	b := written(t, m, files)
	got, found := map[store.Key]store.Object{}, fstest.MapFS{}
	h, err := Read(bytes.NewReader(b), newCodec(), Sink{
		Object: func(o store.Object) error {
			got[storetest.Kinds().Key(o)] = o
			return nil
		},
		File: func(name string, mode fs.FileMode, r io.Reader) error {
			data, err := io.ReadAll(r)
			found[name] = &fstest.MapFile{Data: data, Mode: mode}
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if h.Revision != m.Revision || h.Objects != len(m.Objects) || h.Node != "mine" || h.Format != format {
		t.Errorf("the head is %+v", h)
	}
	m2 := storetest.NewModel()
	m2.Revision, m2.Objects = m.Revision, got
	if diff := m.DiffModel(m2); diff != "" {
		t.Error(diff)
	}
	for name, f := range files {
		if g := found[name]; g == nil || g.Mode != f.Mode || !bytes.Equal(g.Data, f.Data) {
			t.Errorf("the file %s is not what it was", name)
		}
	}
	if len(found) != len(files) {
		t.Errorf("%d files, not %d", len(found), len(files))
	}
}

func TestABackupThatWasSpoiltIsRefused(t *testing.T) {
	m := some(t, 2)
	b := written(t, m, fstest.MapFS{"git-token": {Data: []byte("secret"), Mode: 0o600}})
	r := storetest.Rand(t)
	refuse := func(what string, b []byte) {
		t.Helper()
		if _, err := Read(bytes.NewReader(b), newCodec(), Sink{}); !errors.Is(err, ErrSpoilt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 300 {
		at, bit := r.IntN(len(b)), byte(1)<<r.IntN(8)
		spoilt := bytes.Clone(b)
		spoilt[at] ^= bit
		refuse("a bit flipped", spoilt)
		refuse("cut short", b[:r.IntN(len(b))])
		gap := bytes.Clone(b)
		clear(gap[at:min(at+512, len(gap))])
		if !bytes.Equal(gap, b) {
			refuse("a sector lost", gap)
		}
	}
	refuse("empty", nil)
	refuse("something else", []byte(strings.Repeat("what is this? ", 100)))
	if _, err := Read(bytes.NewReader(b[:len(b)-1]), nil, Sink{}); err == nil || !strings.Contains(err.Error(), "ends too early") {
		t.Error("one byte too short:", err)
	}
}

func TestABackupThatLacksAnObjectIsRefused(t *testing.T) {
	m := some(t, 2)
	var b bytes.Buffer
	h := Head{Revision: m.Revision, Objects: len(m.Objects) + 1}
	if err := Write(&b, h, newCodec(), objects(m), fstest.MapFS{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&b, newCodec(), Sink{}); !errors.Is(err, ErrSpoilt) {
		t.Error(err)
	}
}

func TestABackupOfANewerFormatIsRefusedByName(t *testing.T) {
	m := some(t, 1)
	b := written(t, m, fstest.MapFS{})
	newer := func(h Head) error {
		h.Format = format + 1
		var out bytes.Buffer
		if err := writeHead(&out, h); err != nil {
			return err
		}
		_, err := Read(&out, newCodec(), Sink{})
		return err
	}
	h, err := Read(bytes.NewReader(b), newCodec(), Sink{})
	if err != nil {
		t.Fatal(err)
	}
	if err := newer(h); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format 2") {
		t.Error(err)
	}
}

// writeHead writes a backup that has nothing but a head, as it is.
func writeHead(w io.Writer, h Head) error {
	z, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	a := &writer{tar: tar.NewWriter(z), sum: sha256.New()}
	return errors.Join(a.json(headName, h), a.tar.Close(), z.Close())
}

func TestTheErrorOfWhoTakesItEndsTheReading(t *testing.T) {
	broken := errors.New("no room")
	b := written(t, some(t, 2), fstest.MapFS{"f": {Data: []byte("x")}})
	for name, s := range map[string]Sink{
		"head":   {Head: func(Head) error { return broken }},
		"object": {Object: func(store.Object) error { return broken }},
		"file":   {File: func(string, fs.FileMode, io.Reader) error { return broken }},
	} {
		if _, err := Read(bytes.NewReader(b), newCodec(), s); cmp.Diff(broken.Error(), err.Error()) != "" || errors.Is(err, ErrSpoilt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
