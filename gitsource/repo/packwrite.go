package repo

import (
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// WritePack writes a pack of these objects, each whole: looking for deltas costs a hundred times more than sending small
// files as they are.
func (r *Reader) WritePack(w io.Writer, objects []tree.Hash) error {
	sum := sha1.New()
	out := io.MultiWriter(w, sum)
	header := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	if _, err := out.Write(header); err != nil {
		return err
	}
	z := zlib.NewWriter(out)
	for _, h := range objects {
		o, err := r.any(h, maxSent)
		if err != nil {
			return fmt.Errorf("pack %s: %w", h.Short(), err)
		}
		if _, err := out.Write(entryHeader(o)); err != nil {
			return err
		}
		z.Reset(out)
		if _, err := z.Write(o.data); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// maxSent is no limit in practice: no bigger object was let in.
const maxSent = 1 << 40

// entryHeader is the kind and the size: four bits of it in the first byte, seven in each that follows.
func entryHeader(o object) []byte {
	size := uint64(len(o.data))
	b := []byte{byte(o.kind)<<4 | byte(size&0x0f)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	return b
}
