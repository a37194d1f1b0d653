// Package gittest makes Git repositories for tests, with the real git, which sees nothing of the user's configuration.
package gittest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Env is the environment of a git that is alone in the world, with its home in a folder.
func Env(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"LC_ALL=C", "no_proxy=*",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=gc.auto", "GIT_CONFIG_VALUE_0=0", // it would go on behind the test's back
	}
}

// Try runs git in a folder, and returns all that it printed.
func Try(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = Env(dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Git runs git, which must succeed, and returns what it printed, trimmed.
func Git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := Try(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// Fails runs git, which must fail, and returns what it printed.
func Fails(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := Try(t, dir, args...)
	if err == nil {
		t.Fatalf("git %s: want a failure\n%s", strings.Join(args, " "), out)
	}
	return out
}

// New makes a repository with an empty working tree, on the branch main.
func New(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	Git(t, dir, "init", "-q", "-b", "main")
	return dir
}

// Files are contents by path. An empty content removes the file.
type Files map[string]string

// Write writes files into a folder.
func Write(t testing.TB, dir string, files Files) {
	t.Helper()
	for path, content := range files {
		full := filepath.Join(dir, path)
		if content == "" {
			if err := os.RemoveAll(full); err != nil && !errors.Is(err, syscall.ENOTDIR) { // below a file there is nothing
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Commit writes files and commits everything. It returns the hash.
func Commit(t testing.TB, dir string, message string, files Files) string {
	t.Helper()
	Write(t, dir, files)
	Git(t, dir, "add", "-A")
	Git(t, dir, "commit", "-q", "--allow-empty", "-m", message)
	return Git(t, dir, "rev-parse", "HEAD")
}

// Import commits files to a branch of a bare repository in one go, however many they are.
func Import(t testing.TB, dir, branch string, files Files) {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "commit refs/heads/%s\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 6\nimport\n", branch)
	if _, err := Try(t, dir, "rev-parse", "--verify", "-q", "refs/heads/"+branch); err == nil {
		fmt.Fprintf(&b, "from refs/heads/%s^0\n", branch)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", path, len(files[path]), files[path])
	}
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, Env(dir), &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git fast-import: %v\n%s", err, out)
	}
}

// Bare makes an empty bare repository at root/name.
func Bare(t testing.TB, root, name string) string {
	t.Helper()
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	Git(t, dir, "init", "-q", "--bare", "-b", "main")
	return dir
}

// Backend serves the repositories below root by git http-backend.
func Backend(t testing.TB, root string) http.Handler {
	t.Helper()
	return &cgi.Handler{
		Path:   filepath.Join(Git(t, root, "--exec-path"), "git-http-backend"),
		Env:    append(Env(root), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard,
		Logger: log.New(io.Discard, "", 0),
	}
}

// Serve runs a handler on the loopback until the test ends, and returns its URL.
func Serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}
