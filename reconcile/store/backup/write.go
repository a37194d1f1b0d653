package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A writer writes the archive, and sums up what it wrote.
type writer struct {
	tar   *tar.Writer
	taken time.Time
	end   end
	sum   hash.Hash
}

// Write writes a backup of objects, and of all regular files in files. It fills in what h lacks, but for Taken, which is
// also the time of all that is in the archive.
func Write(w io.Writer, h Head, codec Codec, objects iter.Seq2[store.Object, error], files fs.FS) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
	if err != nil {
		return fmt.Errorf("write a backup: %w", err)
	}
	a := &writer{tar: tar.NewWriter(z), taken: h.Taken, sum: sha256.New()}
	h.Format = format
	if err := a.writeAll(h, codec, objects, files); err != nil {
		return fmt.Errorf("write a backup: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write a backup: %w", err)
	}
	return nil
}

func (a *writer) writeAll(h Head, codec Codec, objects iter.Seq2[store.Object, error], files fs.FS) error {
	if err := a.json(headName, h); err != nil {
		return err
	}
	if err := a.objects(codec, objects); err != nil {
		return err
	}
	if err := a.files(files); err != nil {
		return err
	}
	a.end.SHA256 = hex.EncodeToString(a.sum.Sum(nil))
	if err := a.json(endName, a.end); err != nil {
		return err
	}
	return a.tar.Close()
}

func (a *writer) json(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return a.bytes(name, append(b, '\n'))
}

// begin begins an entry; what is written to the result goes into it.
func (a *writer) begin(name string, mode fs.FileMode, size int64) (io.Writer, error) {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode.Perm()), Size: size, ModTime: a.taken}
	if err := a.tar.WriteHeader(h); err != nil {
		return nil, err
	}
	fmt.Fprintf(a.sum, "%q %o %d\n", name, mode.Perm(), size)
	return io.MultiWriter(a.tar, a.sum), nil
}

func (a *writer) bytes(name string, b []byte) error {
	w, err := a.begin(name, 0o600, int64(len(b)))
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

func (a *writer) objects(codec Codec, objects iter.Seq2[store.Object, error]) error {
	var b []byte
	chunks := 0
	flush := func() error {
		chunks++
		err := a.bytes(fmt.Sprintf("%s%06d", objectsDir, chunks), b)
		b = b[:0]
		return err
	}
	for o, err := range objects {
		if err != nil {
			return err
		}
		data, err := codec.Encode(o)
		if err != nil {
			return fmt.Errorf("encode %s/%s: %w", o.GetNamespace(), o.GetName(), err)
		}
		b = appendRecord(b, store.RevisionOf(o), data)
		a.end.Objects++
		if len(b) < chunk {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	if len(b) == 0 {
		return nil
	}
	return flush()
}

func (a *writer) files(files fs.FS) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return a.file(files, path)
	})
}

func (a *writer) file(files fs.FS, path string) error {
	f, err := files.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w, err := a.begin(filesDir+path, info.Mode(), info.Size())
	if err != nil {
		return err
	}
	if _, err := io.CopyN(w, f, info.Size()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	a.end.Files++
	return nil
}
