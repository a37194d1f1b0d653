package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Version is that of the suite. The module in suite/ pins it, and what it needs.
const version = "v1.36.3"

// recipes counts changes of how images are made: those of another number are made anew.
const recipes = "5"

// A place is where things are that outlast a run.
type place struct {
	bin   string // the programs of this repository
	suite string // the module of the suite
	cache string // what was built of it, by its version
}

func newPlace() (place, error) {
	self, err := os.Executable()
	if err != nil {
		return place{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return place{}, err
	}
	suite, err := filepath.Abs("cmd/conformance/suite")
	if err != nil {
		return place{}, err
	}
	if _, err := os.Stat(suite); err != nil {
		return place{}, fmt.Errorf("find the suite: run this where go.mod is: %w", err)
	}
	return place{bin: filepath.Dir(self), suite: suite, cache: filepath.Join(cache, "mainstay-conformance", version)}, nil
}

func (p place) mainstay() string { return filepath.Join(p.bin, "mainstay") }
func (p place) built(name string) string {
	return filepath.Join(p.cache, name)
}

// A program is built of a package, in the module that is at dir.
type program struct {
	name, dir, pkg string
	test           bool
	ldflags        string
}

func (p place) programs() []program {
	return []program{
		{name: "ginkgo", dir: p.suite, pkg: "github.com/onsi/ginkgo/v2/ginkgo"},
		{name: "agnhost", dir: p.suite, pkg: "k8s.io/kubernetes/test/images/agnhost"},
		{name: "nnp", dir: p.suite, pkg: "k8s.io/kubernetes/test/images/nonewprivs"},
		{name: "sample-apiserver", dir: p.suite, pkg: "k8s.io/sample-apiserver"},
		{name: "etcd", dir: p.suite, pkg: "go.etcd.io/etcd/server/v3"},
		{name: "kubectl", dir: filepath.Join(p.suite, "..", "..", "..", "reconcile", "api", "testdata", "kubectl", "v0.37"), pkg: ".",
			ldflags: "-X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"},
		{name: "pause", dir: p.suite, pkg: "./pause"},
		{name: "e2e.test", dir: p.suite, pkg: "k8s.io/kubernetes/test/e2e", test: true},
	}
}

// build builds what is not there yet: minutes, the first time.
func (p place) build(ctx context.Context) error {
	if err := os.MkdirAll(p.cache, 0o755); err != nil {
		return err
	}
	for _, program := range p.programs() {
		if err := p.buildOne(ctx, program); err != nil {
			return err
		}
	}
	if err := p.unpackPackages(ctx); err != nil {
		return err
	}
	return p.buildImages(ctx)
}

func (p place) buildOne(ctx context.Context, what program) error {
	to := p.built(what.name)
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	fmt.Printf("building %s, which is kept in %s\n", what.name, p.cache)
	args := []string{"build", "-ldflags", "-s -w " + what.ldflags, "-o", to + ".half", what.pkg}
	if what.test {
		args = append([]string{"test", "-c"}, args[1:]...)
	}
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = what.dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", what.name, err, out)
	}
	return os.Rename(to+".half", to)
}

// packages are those of Debian whose programs the images hold, beside ours: agnhost's image is full of what tests call in it.
var packages = []string{"bash", "coreutils", "curl", "bind9-dnsutils", "netcat-openbsd", "iproute2", "iperf", "util-linux", "socat", "nginx-light"}

// unpackPackages fetches packages with all that they need, and unpacks them into a folder; nothing is installed.
func (p place) unpackPackages(ctx context.Context) error {
	root := p.built("debian")
	if _, err := os.Stat(root); err == nil {
		return nil
	}
	fmt.Println("fetching", strings.Join(packages, " "), "and what they need")
	half := root + ".half"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	archives := filepath.Join(half, "archives")
	for _, dir := range []string{filepath.Join(archives, "partial"), filepath.Join(half, "root")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	status := filepath.Join(half, "status") // as if nothing were installed
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return err
	}
	args := append([]string{
		"-o", "Dir::State::status=" + status, "-o", "Dir::Cache::archives=" + archives, "-o", "APT::Install-Recommends=false", "-o", "APT::Sandbox::User=root",
		"-y", "-qq", "--download-only", "install",
	}, packages...)
	if out, err := exec.CommandContext(ctx, "apt-get", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("fetch Debian packages: %w\n%s", err, out)
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil || len(debs) == 0 {
		return fmt.Errorf("fetch Debian packages: there are none in %s (%w)", archives, err)
	}
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, filepath.Join(half, "root")).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", deb, err, out)
		}
	}
	if err := os.Rename(filepath.Join(half, "root"), root); err != nil {
		return err
	}
	return os.RemoveAll(half)
}
