// Package seal encrypts Secrets where they are kept: in the store's files and in backups. Memory, and whoever asks through the
// API, sees them as they are.
package seal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Secret is the kind that is encrypted.
var Secret = schema.GroupKind{Kind: "Secret"}

var (
	// ErrNoKey says that the key of what is to be decrypted is not there.
	ErrNoKey = errors.New("its key is missing")
	// ErrForged says that what is to be decrypted is not what was encrypted.
	ErrForged = errors.New("it was changed since it was encrypted")
)

// A Plain codec turns objects into bytes and back.
type Plain interface {
	Encode(store.Object) ([]byte, error)
	Decode([]byte) (store.Object, error)
}

// A Codec encrypts what Plain makes of Secrets. It also decodes what Plain alone has encoded. It is safe for concurrent use if
// Plain is.
//
// Encrypted are, by AES-256-GCM: magic, ID of the key, nonce, and the rest; the first two are authenticated too.
type Codec struct {
	Plain Plain
	Keys  *Keys
}

const (
	magic = "sealed1\x00"
	head  = len(magic) + idSize
)

// Encode is Plain's, encrypted if o is a Secret.
func (c Codec) Encode(o store.Object) ([]byte, error) {
	data, err := c.Plain.Encode(o)
	if err != nil || o.GetObjectKind().GroupVersionKind().GroupKind() != Secret {
		return data, err
	}
	k, ok := c.Keys.first()
	if !ok {
		return nil, fmt.Errorf("encrypt a Secret: %w", ErrNoKey)
	}
	out := make([]byte, 0, head+k.aead.NonceSize()+len(data)+k.aead.Overhead())
	out = append(append(out, magic...), k.id[:]...)
	nonce := out[head : head+k.aead.NonceSize()]
	_, _ = rand.Read(nonce) // it never fails
	return k.aead.Seal(out[:head+len(nonce)], nonce, data, out[:head]), nil
}

// Decode is the opposite of Encode. Its error wraps ErrNoKey or ErrForged if it cannot decrypt.
func (c Codec) Decode(data []byte) (store.Object, error) {
	if !bytes.HasPrefix(data, []byte(magic)) {
		return c.Plain.Decode(data)
	}
	id, ok := keyOf(data)
	if !ok {
		return nil, fmt.Errorf("decrypt a Secret: %w", ErrForged)
	}
	k, ok := c.Keys.find(id)
	if !ok {
		return nil, fmt.Errorf("decrypt a Secret: %w: %s is not in %s; bring that file along from where the Secret was written", ErrNoKey, id, c.Keys.path)
	}
	n := head + k.aead.NonceSize()
	if len(data) < n {
		return nil, fmt.Errorf("decrypt a Secret: %w", ErrForged)
	}
	plain, err := k.aead.Open(nil, data[head:n], data[n:], data[:head])
	if err != nil {
		return nil, fmt.Errorf("decrypt a Secret: %w", ErrForged)
	}
	return c.Plain.Decode(plain)
}

// Outdated tells whether an encoded Secret is not encrypted, or not by the key that encrypts now.
func (c Codec) Outdated(data []byte) bool {
	id, ok := keyOf(data)
	now, any := c.Keys.first()
	return any && (!ok || id != now.id)
}

// keyOf is which key has encrypted data; false if none has.
func keyOf(data []byte) (ID, bool) {
	if !bytes.HasPrefix(data, []byte(magic)) || len(data) < head {
		return ID{}, false
	}
	return ID(data[len(magic):head]), true
}
