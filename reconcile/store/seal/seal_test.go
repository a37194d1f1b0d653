package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

type plain struct{ proto *protobuf.Serializer }

func (c plain) Encode(o store.Object) ([]byte, error) { return runtime.Encode(c.proto, o) }

func (c plain) Decode(data []byte) (store.Object, error) {
	o, _, err := c.proto.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return o.(store.Object), nil
}

// codec is one with the keys in a file of its own, and that file.
func codec(t *testing.T) (Codec, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys", "secrets")
	return with(t, path), path
}

func with(t *testing.T, path string) Codec {
	t.Helper()
	k, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return Codec{plain{protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)}, k}
}

func secret() store.Object {
	return &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "key"}, Data: map[string][]byte{"password": []byte("correct horse")}}
}

func encode(t *testing.T, c Codec, o store.Object) []byte {
	t.Helper()
	data, err := c.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func password(t *testing.T, c Codec, data []byte) string {
	t.Helper()
	o, err := c.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(o.(*corev1.Secret).Data["password"])
}

func TestSecretsAreEncryptedAndOthersAreNot(t *testing.T) {
	c, path := codec(t)
	data := encode(t, c, secret())
	if bytes.Contains(data, []byte("correct horse")) || bytes.Contains(data, []byte("default")) {
		t.Errorf("it can be read: %q", data)
	}
	if again := encode(t, c, secret()); bytes.Equal(again, data) {
		t.Error("the same Secret is encrypted to the same bytes twice")
	}
	if got := password(t, with(t, path), data); got != "correct horse" {
		t.Errorf("read as %q by who has the file", got)
	}
	m := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: map[string]string{"a": "plain"}}
	if !bytes.Contains(encode(t, c, m), []byte("plain")) {
		t.Error("a ConfigMap is encrypted")
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", fi.Mode(), err)
	}
}

func TestWhatWasChangedOrHasNoKeyIsRefused(t *testing.T) {
	c, path := codec(t)
	data := encode(t, c, secret())
	for at := range data {
		spoilt := bytes.Clone(data)
		spoilt[at] ^= 1
		if o, err := c.Decode(spoilt); err == nil {
			t.Fatalf("byte %d was changed, and it is read as %v", at, o)
		}
		if _, err := c.Decode(data[:at]); err == nil {
			t.Fatalf("%d bytes are read", at)
		}
	}
	other, _ := codec(t)
	if _, err := other.Decode(data); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "bring that file along") {
		t.Error("with another key:", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	none, err := Look(path)
	if err != nil {
		t.Fatal(err)
	}
	without := Codec{c.Plain, none}
	if _, err := without.Encode(secret()); !errors.Is(err, ErrNoKey) {
		t.Error("without keys it is encrypted:", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("who only looks makes keys")
	}
}

func TestARotationMakesWhatIsThereOutdated(t *testing.T) {
	c, path := codec(t)
	unencrypted, err := c.Plain.Encode(secret())
	if err != nil {
		t.Fatal(err)
	}
	old := encode(t, c, secret())
	if c.Outdated(old) || !c.Outdated(unencrypted) {
		t.Error("what is encrypted is outdated, or what is not is not")
	}
	if err := c.Keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	fresh := encode(t, c, secret())
	if !c.Outdated(old) || c.Outdated(fresh) {
		t.Error("the earlier key is not outdated, or the new one is")
	}
	later := with(t, path)
	for _, data := range [][]byte{unencrypted, old, fresh} {
		if got := password(t, later, data); got != "correct horse" {
			t.Errorf("read as %q", got)
		}
	}
	if n := later.Keys.Count(); n != 2 || later.Outdated(fresh) {
		t.Errorf("%d keys, or the wrong one is the first", n)
	}
}

func TestAFileThatIsLinkedToStaysWhereItIs(t *testing.T) {
	c, path := codec(t)
	elsewhere := filepath.Join(t.TempDir(), "keys")
	if err := errors.Join(os.Rename(path, elsewhere), os.Symlink(elsewhere, path), c.Keys.Rotate()); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(path); err != nil || to != elsewhere || with(t, elsewhere).Keys.Count() != 2 {
		t.Errorf("it is %q now, %v", to, err)
	}
}

func TestAFileOfOtherThingsIsRefused(t *testing.T) {
	for _, text := range []string{"", "# none\n", "0011223344556677\n", "0011223344556677 c2hvcnQ=\n", "x y\n"} {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if k, err := Load(path); err == nil {
			t.Errorf("%q: %d keys", text, k.Count())
		}
	}
}
