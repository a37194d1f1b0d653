// Package backup writes a store, and files that belong to it, to one stream, and reads it back.
//
// A backup is a tar archive, compressed with zstd, so that what is in it can be looked at with common tools:
//
//	mainstay.json      format, version, time, revision, number of objects
//	objects/000001     records: length, revision, checksum over both, encoded object; there are as many files as it takes
//	files/...          files, with their modes
//	end.json           the numbers of objects and files, and a SHA-256 over the names, modes and contents of all before
//
// What has no end.json that fits is no backup. The records' checksums are CRC-32C, and zstd has checksums of its own.
package backup

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const format = 1

const (
	headName   = "mainstay.json"
	endName    = "end.json"
	objectsDir = "objects/"
	filesDir   = "files/"

	// chunk is the size of a file of records above which the next one is begun; largest is that of an object above which
	// something must be wrong.
	chunk   = 1 << 20
	largest = 64 << 20
)

var (
	// ErrSpoilt says that a backup is not as it was written, or not all of it.
	ErrSpoilt = errors.New("the backup is damaged")
	// ErrUnreadable says that what a backup has of an object, which is as it was written, cannot be decoded here.
	ErrUnreadable = errors.New("the backup cannot be read")
	// ErrFormat says that a newer Mainstay wrote the backup.
	ErrFormat = errors.New("the backup was written by a newer Mainstay")
)

// A Codec turns objects into bytes and back. What Decode returns need not have a resourceVersion.
type Codec interface {
	Encode(store.Object) ([]byte, error)
	Decode([]byte) (store.Object, error)
}

// A Head is what a backup is of.
type Head struct {
	Format   int            `json:"format"`
	Mainstay string         `json:"mainstay"` // version
	Node     string         `json:"node,omitempty"`
	Taken    time.Time      `json:"taken"`
	Revision store.Revision `json:"revision"`
	Objects  int            `json:"objects"`
}

// end is what stands at the end of a backup.
type end struct {
	Objects int    `json:"objects"`
	Files   int    `json:"files"`
	SHA256  string `json:"sha256"`
}

// A Sink takes what is read from a backup, in the order in which it was written: objects before files. Each of its functions
// may be nil.
type Sink struct {
	Head   func(Head) error
	Object func(store.Object) error                               // with its resourceVersion
	File   func(name string, mode fs.FileMode, r io.Reader) error // name is local, with slashes
}

// appendRecord appends an encoded object.
func appendRecord(b []byte, r store.Revision, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	b = binary.BigEndian.AppendUint64(b, uint64(r))
	b = binary.BigEndian.AppendUint32(b, checksum(uint64(r), data))
	return append(b, data...)
}

const recordHead = 4 + 8 + 4

func checksum(r uint64, data []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(binary.BigEndian.AppendUint64(nil, r), castagnoli), castagnoli, data)
}
