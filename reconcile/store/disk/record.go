package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/cespare/xxhash/v2"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var errSpoilt = errors.New("checksum or length is wrong")

const (
	objects = "o/"
	beside  = "b/"
	pieces  = "x/"
	stateAt = "m/state"
	closing = "m/closing"
)

// A record is a key and its value. Without a value it deletes.
type record struct{ key, value []byte }

func objectKey(k store.Key) []byte {
	return []byte(objects + k.Kind.Group + "/" + k.Kind.Kind + "/" + k.Namespace + "/" + k.Name)
}

// parseKey is the opposite of objectKey.
func parseKey(key []byte) store.Key {
	parts := strings.SplitN(strings.TrimPrefix(string(key), objects), "/", 4)
	parts = append(parts, "", "", "")
	return store.Key{Kind: schema.GroupKind{Group: parts[0], Kind: parts[1]}, Namespace: parts[2], Name: parts[3]}
}

func pieceKey(r store.Revision, n int) []byte {
	b := binary.BigEndian.AppendUint64([]byte(pieces), uint64(r))
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// seal appends a checksum over key and value, so that a value found under another key is noticed too.
func seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, checksum(key, value))
}

func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - 4
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != checksum(key, sealed[:n]) {
		return nil, errSpoilt
	}
	return sealed[:n], nil
}

func checksum(key, value []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// overhead is what an object's value is longer than the encoded object.
const overhead = 8 + 4

// objectValue is the value of an object; of one that is gone, if nothing is encoded.
func objectValue(key []byte, r store.Revision, encoded []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, overhead+len(encoded)), uint64(r))
	return seal(key, append(b, encoded...))
}

// parseValue is the opposite of objectValue. The encoded object shares its memory with sealed.
func parseValue(key, sealed []byte) (r store.Revision, encoded []byte, err error) {
	v, err := unseal(key, sealed)
	if err != nil || len(v) < 8 {
		return 0, nil, errSpoilt
	}
	return store.Revision(binary.BigEndian.Uint64(v)), v[8:], nil
}

// fingerprint stands for one object at one revision.
func fingerprint(key []byte, r store.Revision) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(r))
	_, _ = d.Write(key)
	return d.Sum64()
}

// state is what the store holds in short. The sum over the fingerprints of all live objects shows whether one is missing,
// too old, or back from the dead; order does not matter to a sum.
type state struct {
	revision store.Revision
	sum      uint64
}

const (
	format    = 1
	stateSize = 1 + 8 + 8
)

// encode is the state as it stands in m/state.
func (st state) encode() []byte { return seal([]byte(stateAt), st.append(nil)) }

func (st state) append(b []byte) []byte {
	b = append(b, format)
	b = binary.BigEndian.AppendUint64(b, uint64(st.revision))
	return binary.BigEndian.AppendUint64(b, st.sum)
}

// decodeState reads what encode wrote. ErrFormat if a newer Mainstay wrote it.
func decodeState(sealed []byte) (state, error) {
	v, err := unseal([]byte(stateAt), sealed)
	if err != nil {
		return state{}, err
	}
	return parseState(v)
}

// parseState reads the state at the beginning of v.
func parseState(v []byte) (state, error) {
	switch {
	case len(v) > 0 && v[0] > format:
		return state{}, newer(int(v[0]))
	case len(v) < stateSize:
		return state{}, errSpoilt
	}
	return state{store.Revision(binary.BigEndian.Uint64(v[1:])), binary.BigEndian.Uint64(v[9:])}, nil
}

func newer(found int) error {
	return fmt.Errorf("%w: it has format %d, this one knows formats up to %d", ErrFormat, found, format)
}

// encodeRecords makes a stream of records that can be cut anywhere.
func encodeRecords(rs []record) []byte {
	n := 0
	for _, r := range rs {
		n += 8 + len(r.key) + len(r.value)
	}
	b := make([]byte, 0, n)
	for _, r := range rs {
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.key)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(r.value)))
		b = append(append(b, r.key...), r.value...)
	}
	return b
}

// decodeRecords is the opposite of encodeRecords. The records share their memory with b. No value of ours is empty.
func decodeRecords(b []byte) ([]record, error) {
	var rs []record
	for len(b) > 0 {
		if len(b) < 8 {
			return nil, errSpoilt
		}
		k, v := int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint32(b[4:]))
		if b = b[8:]; k+v > len(b) {
			return nil, errSpoilt
		}
		r := record{key: b[:k:k]}
		if v > 0 {
			r.value = b[k : k+v : k+v]
		}
		rs, b = append(rs, r), b[k+v:]
	}
	return rs, nil
}
