package backup

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Read reads a backup to its end, checks all of it, and gives s what is in it. What it gave is good only if it returns nil:
// so read once with an empty Sink before anything is done with it. An error that is not of s wraps ErrSpoilt, ErrUnreadable or ErrFormat.
func Read(r io.Reader, codec Codec, s Sink) (Head, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return Head{}, spoilt(err)
	}
	defer z.Close()
	a := &reader{tar: tar.NewReader(z), codec: codec, sink: s, sum: sha256.New()}
	if err := a.readAll(); err != nil {
		return a.head, err
	}
	if _, err := io.Copy(io.Discard, z); err != nil { // what follows the archive is empty, but has a checksum
		return a.head, spoilt(err)
	}
	return a.head, nil
}

func spoilt(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrSpoilt)
	}
	if errors.Is(err, zstd.ErrMagicMismatch) {
		return fmt.Errorf("%w: it does not begin as a backup does", ErrSpoilt)
	}
	return fmt.Errorf("%w: %w", ErrSpoilt, err)
}

// A reader reads the archive, and sums up what it read.
type reader struct {
	tar   *tar.Reader
	codec Codec
	sink  Sink

	head Head
	seen end
	sum  hash.Hash
}

func (a *reader) readAll() error {
	for first := true; ; first = false {
		h, err := a.tar.Next()
		if err != nil {
			return spoilt(err)
		}
		if first != (h.Name == headName) || h.Typeflag != tar.TypeReg {
			return fmt.Errorf("%w: %q is out of place", ErrSpoilt, h.Name)
		}
		if h.Name == endName {
			return a.ends()
		}
		fmt.Fprintf(a.sum, "%q %o %d\n", h.Name, fs.FileMode(h.Mode).Perm(), h.Size)
		if err := a.entry(h); err != nil {
			return err
		}
		if _, err := io.Copy(a.sum, a.tar); err != nil { // what the sink has left
			return spoilt(err)
		}
	}
}

// entry reads what h begins.
func (a *reader) entry(h *tar.Header) error {
	body := &body{r: io.TeeReader(a.tar, a.sum)}
	var err error
	if name, ok := strings.CutPrefix(h.Name, filesDir); ok {
		err = a.file(name, fs.FileMode(h.Mode).Perm(), body)
	} else if strings.HasPrefix(h.Name, objectsDir) {
		err = a.records(bufio.NewReaderSize(body, 64<<10))
	} else if h.Name == headName {
		err = a.begins(body)
	} else {
		err = fmt.Errorf("%w: %q is nothing that a backup has", ErrSpoilt, h.Name)
	}
	if body.err != nil {
		return spoilt(body.err) // whatever was made of it
	}
	return err
}

// A body remembers why it could not be read on.
type body struct {
	r   io.Reader
	err error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (a *reader) begins(r io.Reader) error {
	if err := json.NewDecoder(r).Decode(&a.head); err != nil {
		return spoilt(err)
	}
	if a.head.Format > format {
		return fmt.Errorf("%w: it has format %d, this one knows formats up to %d", ErrFormat, a.head.Format, format)
	}
	if a.sink.Head == nil {
		return nil
	}
	return a.sink.Head(a.head)
}

func (a *reader) ends() error {
	var want end
	if err := json.NewDecoder(a.tar).Decode(&want); err != nil {
		return spoilt(err)
	}
	a.seen.SHA256 = hex.EncodeToString(a.sum.Sum(nil))
	switch {
	case a.seen.Objects != want.Objects || a.seen.Objects != a.head.Objects:
		return fmt.Errorf("%w: it has %d objects, and should have %d", ErrSpoilt, a.seen.Objects, want.Objects)
	case a.seen != want:
		return fmt.Errorf("%w: its files or its sum are not as they were written", ErrSpoilt)
	}
	_, err := a.tar.Next()
	if err == io.EOF {
		return nil
	}
	return fmt.Errorf("%w: there is something behind its end", ErrSpoilt)
}

func (a *reader) file(name string, mode fs.FileMode, r io.Reader) error {
	a.seen.Files++
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%w: %q is no name for a file in it", ErrSpoilt, name)
	}
	if a.sink.File == nil {
		return nil
	}
	return a.sink.File(name, mode, r)
}

func (a *reader) records(r io.Reader) error {
	head := make([]byte, recordHead)
	for {
		if _, err := io.ReadFull(r, head); err == io.EOF {
			return nil
		} else if err != nil {
			return spoilt(err)
		}
		n, revision := binary.BigEndian.Uint32(head), binary.BigEndian.Uint64(head[4:])
		if n > largest {
			return fmt.Errorf("%w: an object of %d MiB", ErrSpoilt, n>>20)
		}
		data, err := io.ReadAll(io.LimitReader(r, int64(n)))
		if err != nil || len(data) < int(n) || checksum(revision, data) != binary.BigEndian.Uint32(head[12:]) {
			return fmt.Errorf("%w: the checksum of object %d is wrong", ErrSpoilt, a.seen.Objects+1)
		}
		if err := a.object(store.Revision(revision), data); err != nil {
			return err
		}
	}
}

func (a *reader) object(r store.Revision, data []byte) error {
	a.seen.Objects++
	if a.codec == nil {
		return nil
	}
	o, err := a.codec.Decode(data)
	if err != nil {
		return fmt.Errorf("%w: object %d: %w", ErrUnreadable, a.seen.Objects, err)
	}
	o.SetResourceVersion(r.String())
	if a.sink.Object == nil {
		return nil
	}
	return a.sink.Object(o)
}
