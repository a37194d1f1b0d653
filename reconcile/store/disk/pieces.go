package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// pieceSize is far below the limit of a transaction.
const pieceSize = 64 << 10

// A closed transaction is what the record at m/closing says of one that was written in pieces.
type closed struct {
	after  state // what m/state becomes
	pieces int
	sum    uint64 // of all pieces
}

func (c closed) encode() []byte {
	v := binary.BigEndian.AppendUint32(c.after.append(nil), uint32(c.pieces))
	return seal([]byte(closing), binary.BigEndian.AppendUint64(v, c.sum))
}

func decodeClosed(sealed []byte) (closed, error) {
	v, err := unseal([]byte(closing), sealed)
	if err != nil {
		return closed{}, err
	}
	st, err := parseState(v)
	if err != nil || len(v) != stateSize+12 {
		return closed{}, errors.Join(err, errSpoilt)
	}
	v = v[stateSize:]
	return closed{st, int(binary.BigEndian.Uint32(v)), binary.BigEndian.Uint64(v[4:])}, nil
}

// putInPieces writes rs and the state: pieces, then the record that closes them, and with that all is done or will be. Then
// the records go where they belong, before anything else is written.
func (b *Backend) putInPieces(st state, rs []record) error {
	stream := encodeRecords(rs)
	c := closed{after: st, sum: xxhash.Sum64(stream)}
	var parts []record
	for len(stream) > 0 {
		n := min(pieceSize, len(stream))
		parts = append(parts, record{pieceKey(st.revision, len(parts)), stream[:n]})
		stream = stream[n:]
	}
	c.pieces = len(parts)
	if err := b.putInParts(parts); err != nil {
		return err
	}
	if err := b.putInParts([]record{{[]byte(closing), c.encode()}}); err != nil {
		return err
	}
	return b.move(c, rs)
}

// move writes the records of a closed transaction. It may run again from its start until it is done.
func (b *Backend) move(c closed, rs []record) error {
	if err := b.putInParts(rs); err != nil {
		return err
	}
	end := []record{{[]byte(stateAt), c.after.encode()}, {key: []byte(closing)}}
	for n := range c.pieces {
		end = append(end, record{key: pieceKey(c.after.revision, n)})
	}
	return b.putInParts(end) // the first two are in one transaction
}

// redo moves what a closed transaction holds that was not moved to its end. Nothing was written after it.
func (b *Backend) redo() error {
	v, err := b.get(closing)
	if err != nil || v == nil {
		return err
	}
	c, err := decodeClosed(v)
	if errors.Is(err, ErrFormat) {
		return fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	if err != nil || c.after.revision <= b.state.revision {
		return b.damage("the record that closes a large transaction does not fit")
	}
	var stream []byte
	n := 0
	first, after := pieceKey(c.after.revision, 0), pieceKey(c.after.revision, c.pieces)
	err = b.each(pieces, func(key, value []byte) {
		if bytes.Compare(key, first) >= 0 && bytes.Compare(key, after) < 0 {
			stream = append(stream, value...)
			n++
		}
	})
	if err != nil {
		return err
	}
	rs, err := decodeRecords(stream)
	if err != nil || n != c.pieces || xxhash.Sum64(stream) != c.sum {
		return b.damage(fmt.Sprintf("the transaction up to revision %d was acknowledged, but is not whole", c.after.revision))
	}
	if err := b.move(c, rs); err != nil {
		return err
	}
	b.opts.Log.Info("finished a large transaction that a crash cut short", "revision", c.after.revision)
	b.state = c.after
	return nil
}

// sweep removes pieces that were not closed: their transaction never was.
func (b *Backend) sweep() error {
	gone, err := b.keys(pieces)
	if err != nil || len(gone) == 0 {
		return err
	}
	b.opts.Log.Info("removed the pieces of a transaction that a crash cut short", "pieces", len(gone))
	return b.putInParts(gone)
}

// keys are the records that delete all under prefix.
func (b *Backend) keys(prefix string) (gone []record, err error) {
	err = b.each(prefix, func(key, _ []byte) { gone = append(gone, record{key: bytes.Clone(key)}) })
	return gone, err
}
