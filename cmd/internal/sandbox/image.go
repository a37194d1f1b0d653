package sandbox

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// BuildImage builds a Go program for version, and an image named ref that holds nothing else, as an archive in file.
func BuildImage(ctx context.Context, program, ref, version, file string) error {
	binary := file + ".bin"
	defer os.Remove(binary)
	c := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w -X main.version="+version, "-o", binary, program)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", program, err, out)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	return writeImage(ref, file, v1.Config{Entrypoint: []string{"/hello"}}, Entry{Header: tar.Header{Name: "hello", Mode: 0o755}, Content: b})
}

// BuildBusybox builds an image named ref of the machine's busybox, which must be static, with all its commands in /bin.
func BuildBusybox(ctx context.Context, ref, file string) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("find busybox (in Debian's package busybox-static): %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	commands, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the commands of busybox: %w", err)
	}
	all := []Entry{{Header: tar.Header{Name: "bin/busybox", Mode: 0o755}, Content: b}, {Header: tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}}}
	for name := range strings.FieldsSeq(string(commands)) {
		if name != "busybox" {
			all = append(all, Entry{Header: tar.Header{Name: "bin/" + name, Linkname: "busybox", Typeflag: tar.TypeSymlink, Mode: 0o777}})
		}
	}
	return writeImage(ref, file, v1.Config{Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/bin"}}, all...)
}

// An Entry is a file of an image. Its size is that of its content.
type Entry struct {
	tar.Header
	Content []byte
}

// writeImage writes an image of one layer as an archive.
func writeImage(ref, file string, config v1.Config, entries ...Entry) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	image, err := Image(config, entries)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, image)
}

// Image is an image of layers, the lowest first, for this machine.
func Image(config v1.Config, layers ...[]Entry) (v1.Image, error) {
	image := empty.Image
	for _, entries := range layers {
		l, err := layer(entries)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			return nil, err
		}
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg.Architecture, cfg.OS, cfg.Config = runtime.GOARCH, "linux", config
	return mutate.ConfigFile(image, cfg)
}

func layer(entries []Entry) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.Content))
		if err := w.WriteHeader(&e.Header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.Content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}
