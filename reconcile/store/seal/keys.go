package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Keys are those of one file, a line each: its ID, and itself in base64. The first one encrypts; the others only decrypt.
// They are safe for concurrent use.
type Keys struct {
	path string

	mu  sync.RWMutex
	all []key
}

type key struct {
	id     ID
	secret []byte
	aead   cipher.AEAD
}

// An ID names a key, and says nothing about it.
type ID [idSize]byte

const (
	idSize  = 8
	keySize = 32 // AES-256
)

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Load reads the keys in the file path, which it makes with one new key if it is not there.
func Load(path string) (*Keys, error) {
	k, err := Look(path)
	if err == nil && len(k.all) == 0 {
		err = k.Rotate()
	}
	return k, err
}

// Look is Load for those who change nothing: of a file that is not there there are no keys, and nothing can be encrypted.
func Look(path string) (*Keys, error) {
	k := &Keys{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of Secrets: %w", err)
	}
	if k.all, err = parse(text); err != nil {
		return nil, fmt.Errorf("read the keys of Secrets in %s: %w", path, err)
	}
	return k, nil
}

func parse(text []byte) ([]key, error) {
	var all []key
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, encoded, _ := strings.Cut(line, " ")
		id, err := hex.DecodeString(name)
		secret, wrong := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || wrong != nil || len(id) != idSize || len(secret) != keySize {
			return nil, fmt.Errorf("line %d is no key: want an id of %d hexadecimal digits, and %d bytes in base64", len(all)+1, 2*idSize, keySize)
		}
		k, err := newKey(ID(id), secret)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	if len(all) == 0 {
		return nil, errors.New("there is none: bring the file back, or remove it to begin with a new key")
	}
	return all, nil
}

func newKey(id ID, secret []byte) (key, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCM(block)
	return key{id, secret, aead}, err
}

// Rotate has a new key encrypt from now on. Those before it are kept: what was written with them, and backups, can be read.
func (k *Keys) Rotate() error {
	var id ID
	secret := make([]byte, keySize)
	_, _ = rand.Read(id[:]) // it never fails
	_, _ = rand.Read(secret)
	first, err := newKey(id, secret)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := append([]key{first}, k.all...)
	if err := write(k.path, all); err != nil {
		return fmt.Errorf("write the keys of Secrets: %w", err)
	}
	k.all = all
	return nil
}

// write makes the file durable before it returns: what a lost key has encrypted is lost.
func write(path string, all []key) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("# Keys of the Secrets in the store and in backups: the first one encrypts, the others are for what is older.\n")
	for _, k := range all {
		fmt.Fprintf(&b, "%s %s\n", k.id, base64.StdEncoding.EncodeToString(k.secret))
	}
	real, err := filepath.EvalSymlinks(path) // who keeps it elsewhere goes on doing so
	if err != nil {
		real = path
	}
	f, err := os.OpenFile(real+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(real+".new", real); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(real))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Count is how many keys there are.
func (k *Keys) Count() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.all)
}

// first is the key that encrypts; false if there is none.
func (k *Keys) first() (key, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if len(k.all) == 0 {
		return key{}, false
	}
	return k.all[0], true
}

func (k *Keys) find(id ID) (key, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, one := range k.all {
		if one.id == id {
			return one, true
		}
	}
	return key{}, false
}
