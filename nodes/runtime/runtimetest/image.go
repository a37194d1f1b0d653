package runtimetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ImageName is the image that the suite runs: its entrypoint is /prog, its argument "wait", and it knows the user "app"
// (1000, of group 1000, and of group 63).
const ImageName = "mainstay.local/prog:v1"

// BuildProgram builds the program of the test image into a folder and returns its path. It needs the go command.
func BuildProgram(dir string) (string, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest").Output()
	if err != nil {
		return "", fmt.Errorf("find the test program: %w", err)
	}
	prog := filepath.Join(dir, "prog")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", prog, "./testdata/prog")
	cmd.Dir = string(bytes.TrimSpace(out))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test program: %w: %s", err, text)
	}
	return prog, nil
}

// Image makes the test image around a program. user is what its config says, such as "" or "app".
func Image(prog, user string) (v1.Image, error) {
	layer, err := layer(prog)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		Entrypoint: []string{"/prog"},
		Cmd:        []string{"wait"},
		Env:        []string{"PATH=/", "FROM=image"},
		WorkingDir: "/data",
		User:       user,
	}
	return mutate.ConfigFile(image, config)
}

// Archive writes an image as "docker save" would.
func Archive(file, ref string, image v1.Image) error {
	tag, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, image)
}

func layer(prog string) (v1.Layer, error) {
	program, err := os.ReadFile(prog)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"data", "dev", "etc", "proc", "sys", "tmp"} {
		if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		name string
		data []byte
		mode int64
	}{
		{"prog", program, 0o755},
		{"etc/passwd", []byte("root:x:0:0::/:/none\napp:x:1000:1000::/:/none\n"), 0o644},
		{"etc/group", []byte("root:x:0:\napp:x:1000:\naudio:x:63:app\n"), 0o644},
		{"text", []byte("not a program\n"), 0o755},
		{"secret", []byte("x\n"), 0o600},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
}
