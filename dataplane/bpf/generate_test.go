package bpf

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

func TestWhatIsCommittedIsWhatTheSourceCompilesTo(t *testing.T) {
	if _, err := exec.LookPath("clang"); errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("MAINSTAY_TEST_ROOT") != "" {
			t.Fatal("clang is missing: make test-tools")
		}
		t.Skip("needs clang, which make test installs")
	}
	source, err := os.ReadFile("bpf.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^//go:generate go (tool bpf2go) (.*)$`).FindSubmatch(source)
	if line == nil {
		t.Fatal("bpf.go does not say how it is generated")
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "go "+string(line[1])+" -output-dir "+dir+" "+string(line[2]))
	cmd.Env = append(os.Environ(), "GOPACKAGE=bpf")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"sock_bpfel.o", "sock_bpfel.go"} {
		committed, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		generated, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, generated) {
			t.Errorf("%s is not what sock.c compiles to: run go generate ./dataplane/bpf", name)
		}
	}
}
