// Package kubectltest builds the stock kubectls that everything must work with, for tests.
package kubectltest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Oldest is the version of the oldest kubectl that everything must work with.
const Oldest = "v1.32.13"

// Versions are the oldest and the newest, by the folder of the module that each is.
func Versions() map[string]string {
	return map[string]string{"v0.32": Oldest, "v0.37": "v1.37.2"}
}

// Build is the path of a kubectl. It is built once and kept in the user's cache folder: the first time takes minutes.
func Build(t testing.TB, module, version string) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "reconcile", "api", "testdata", "kubectl", module)
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		h.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "mainstay-test", fmt.Sprintf("kubectl-%s-%.8x", module, h.Sum(nil)))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	t.Logf("building kubectl %s, which is kept in %s", version, path)
	built := filepath.Join(t.TempDir(), "kubectl")
	c := exec.CommandContext(t.Context(), "go", "build", "-o", built, "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+version, ".")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build kubectl %s: %v\n%s", version, err, out)
	}
	data, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	half := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := errors.Join(os.WriteFile(half, data, 0o755), os.Rename(half, path)); err != nil {
		t.Fatal(err)
	}
	return path
}
