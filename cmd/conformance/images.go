package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/mainstay-gitops/mainstay/cmd/internal/sandbox"
)

// nameAnnotation carries an image's repository and tag in the layout where it is kept.
const nameAnnotation = "org.opencontainers.image.ref.name"

// An image is what the suite knows by a name; its registry is left out, since all are looked for in one.
type image struct {
	name   string
	config v1.Config
	layers [][]sandbox.Entry
}

// buildImages builds what the tests run, by the recipes of the suite (test/images), into a layout. Alpine and Debian, of which
// those begin, are Debian's packages here with busybox's commands.
func (p place) buildImages(ctx context.Context) error {
	at := p.built("images-" + recipes)
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	fmt.Println("building images")
	images, err := p.images(ctx)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(at + ".half"); err != nil {
		return err
	}
	all, err := layout.Write(at+".half", empty.Index)
	if err != nil {
		return err
	}
	for _, i := range images {
		built, err := sandbox.Image(i.config, i.layers...)
		if err != nil {
			return fmt.Errorf("build %s: %w", i.name, err)
		}
		if err := all.AppendImage(built, layout.WithAnnotations(map[string]string{nameAnnotation: i.name})); err != nil {
			return fmt.Errorf("build %s: %w", i.name, err)
		}
	}
	return os.Rename(at+".half", at)
}

func (p place) images(ctx context.Context) ([]image, error) {
	small, err := busybox(ctx)
	if err != nil {
		return nil, err
	}
	debian, err := p.debian(small)
	if err != nil {
		return nil, err
	}
	shell, err := p.shell()
	if err != nil {
		return nil, err
	}
	programs, err := p.entries(map[string]string{
		"agnhost": "agnhost", "pause": "pause", "nnp": "usr/local/bin/nnp", "sample-apiserver": "sample-apiserver", "etcd": "usr/local/bin/etcd",
	})
	if err != nil {
		return nil, err
	}
	nnp := programs["nnp"]
	nnp.Mode = 0o6755
	path := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	serve := v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Env: path}
	website := v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"test-webserver"}, Env: path}
	nginx := v1.Config{Cmd: []string{"nginx", "-g", "daemon off;"}, Env: path}
	own := func(files ...sandbox.Entry) []sandbox.Entry { return files }
	certificate, err := p.certificate(ctx)
	if err != nil {
		return nil, err
	}
	agnhost := [][]sandbox.Entry{debian, append(append(agnhostExtras(), certificate...), programs["agnhost"])}
	site := func(content string) [][]sandbox.Entry {
		return append(slices.Clone(agnhost), own(text("data.json", content)))
	}
	return []image{
		{"e2e-test-images/agnhost:2.63.0", serve, agnhost},
		{"e2e-test-images/agnhost:2.55", serve, agnhost},
		{"e2e-test-images/glibc-dns-testing:2.0.0", v1.Config{Env: path}, [][]sandbox.Entry{debian}},
		{"e2e-test-images/busybox:1.37.0-1", v1.Config{Cmd: []string{"sh"}, Env: path}, [][]sandbox.Entry{small, shell}},
		{"e2e-test-images/nonewprivs:1.4", v1.Config{Cmd: []string{"nnp"}, Env: path}, [][]sandbox.Entry{small, own(nnp)}},
		{"e2e-test-images/nonroot:1.5", v1.Config{User: "1234", Env: path}, [][]sandbox.Entry{small}},
		{"e2e-test-images/kitten:1.8", website, site("{\n  \"image\": \"kitten.jpg\"\n}\n")},
		{"e2e-test-images/nautilus:1.8", website, site("{\n  \"image\": \"nautilus.jpg\"\n}\n")},
		{"e2e-test-images/nginx:1.15-4", nginx, [][]sandbox.Entry{debian, nginxFiles("1.15")}},
		{"e2e-test-images/nginx:1.27-0", nginx, [][]sandbox.Entry{debian, nginxFiles("1.27")}},
		{"e2e-test-images/sample-apiserver:1.29.2", v1.Config{Entrypoint: []string{"/sample-apiserver"}, Env: path}, [][]sandbox.Entry{small, own(programs["sample-apiserver"])}},
		{"etcd:3.6.8-0", v1.Config{Env: path}, [][]sandbox.Entry{small, own(programs["etcd"])}},
		{"pause:3.10.2", v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, [][]sandbox.Entry{own(programs["pause"])}},
	}, nil
}

func (p place) entries(names map[string]string) (map[string]sandbox.Entry, error) {
	out := map[string]sandbox.Entry{}
	for name, path := range names {
		b, err := os.ReadFile(p.built(name))
		if err != nil {
			return nil, err
		}
		out[name] = sandbox.Entry{Header: tar.Header{Name: path, Mode: 0o755}, Content: b}
	}
	return out, nil
}

func text(name, content string) sandbox.Entry {
	return sandbox.Entry{Header: tar.Header{Name: name, Mode: 0o644}, Content: []byte(content)}
}

func folder(name string, mode int64) sandbox.Entry {
	return sandbox.Entry{Header: tar.Header{Name: name + "/", Mode: mode, Typeflag: tar.TypeDir}}
}

func link(name, to string) sandbox.Entry {
	return sandbox.Entry{Header: tar.Header{Name: name, Linkname: to, Mode: 0o777, Typeflag: tar.TypeSymlink}}
}

// busybox is the machine's, which must be static, with all its commands, and the few files that its image is known to hold.
func busybox(ctx context.Context) ([]sandbox.Entry, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("find busybox (in Debian's package busybox-static): %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	commands, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the commands of busybox: %w", err)
	}
	all := append(base(), sandbox.Entry{Header: tar.Header{Name: "bin/busybox", Mode: 0o755}, Content: b})
	for name := range strings.FieldsSeq(string(commands)) {
		if name != "busybox" {
			all = append(all, link("bin/"+name, "busybox"))
		}
	}
	return all, nil
}

// base is what any image has that is a system.
func base() []sandbox.Entry {
	return []sandbox.Entry{
		folder("etc", 0o755), folder("root", 0o700), folder("home", 0o755), folder("tmp", 0o1777), folder("var", 0o755), folder("var/tmp", 0o1777), folder("run", 0o755),
		text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\n"+
			"user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
		text("etc/group", "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n"),
	}
}

// agnhostExtras are what its recipe adds beside the program.
func agnhostExtras() []sandbox.Entry {
	return []sandbox.Entry{link("agnhost-2", "agnhost"), folder("uploads", 0o755), folder("home/user-defined-in-image", 0o755)}
}

// certificate is what agnhost serves TLS with where a test does not bring its own.
func (p place) certificate(ctx context.Context) ([]sandbox.Entry, error) {
	c := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "k8s.io/kubernetes/test/images/agnhost/porter")
	c.Dir = p.suite
	dir, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("find agnhost's certificate: %w", err)
	}
	var all []sandbox.Entry
	for _, name := range []string{"localhost.crt", "localhost.key"} {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), name))
		if err != nil {
			return nil, err
		}
		all = append(all, text(name, string(b)))
	}
	return all, nil
}

// nginxFiles make nginx of Debian what nginx of its makers' image is: it serves a page on port 80 and logs to its output.
func nginxFiles(version string) []sandbox.Entry {
	return []sandbox.Entry{
		folder("var/log/nginx", 0o755), link("var/log/nginx/access.log", "/dev/stdout"), link("var/log/nginx/error.log", "/dev/stderr"),
		folder("var/lib/nginx", 0o755), folder("usr/share/nginx/html", 0o755),
		text("usr/share/nginx/html/version", version+"\n"),
		text("etc/nginx/nginx.conf", `worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    sendfile on;
    server {
        listen 80;
        server_name localhost;
        location / { root /usr/share/nginx/html; index index.html; }
    }
}
`),
	}
}

// debian is the unpacked packages, and of small what they lack.
func (p place) debian(small []sandbox.Entry) ([]sandbox.Entry, error) {
	root := p.built("debian")
	have := map[string]bool{}
	for _, e := range append(base(), nginxFiles("")...) {
		have[strings.TrimSuffix(e.Name, "/")] = true
	}
	all := base()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && unneeded(name) {
			return fs.SkipDir
		}
		e, err := entryOf(path, name, d)
		if err == nil && !have[name] {
			have[name] = true
			have["bin/"+filepath.Base(name)] = have["bin/"+filepath.Base(name)] || commandFolder(filepath.Dir(name))
			all = append(all, e)
		}
		return err
	})
	// What Debian's scripts would link. The shell is no busybox: that of Debian prefers its own commands to those of the image.
	for _, l := range []sandbox.Entry{link("bin/sh", "bash"), link("bin/nc", "nc.openbsd")} {
		have[l.Name] = true
		all = append(all, l)
	}
	for _, e := range small {
		if !have[strings.TrimSuffix(e.Name, "/")] {
			all = append(all, e)
		}
	}
	return all, err
}

// shell is bash in place of busybox's sh: that of Debian keeps from what it starts the variables whose names are no
// identifiers, such as a-b, which that of busybox's makers hands on.
func (p place) shell() ([]sandbox.Entry, error) {
	all := []sandbox.Entry{link("bin/sh", "bash")}
	root := p.built("debian")
	for _, pattern := range []string{"bin/bash", "lib/*/libtinfo.so.*", "lib/*/libc.so.6", "lib/*/ld-linux-*", "lib64/ld-linux-*", "lib/ld-linux-*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			info, err := os.Lstat(path)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			e, err := entryOf(path, name, fs.FileInfoToDirEntry(info))
			if err != nil {
				return nil, err
			}
			all = append(all, e)
		}
	}
	return all, nil
}

func commandFolder(dir string) bool {
	return dir == "bin" || dir == "sbin" || dir == "usr/bin" || dir == "usr/sbin"
}

// unneeded says whether a folder holds what no program reads.
func unneeded(dir string) bool {
	switch dir {
	case "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bug":
		return true
	}
	return false
}

func entryOf(path, name string, d fs.DirEntry) (sandbox.Entry, error) {
	info, err := d.Info()
	if err != nil {
		return sandbox.Entry{}, err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return sandbox.Entry{}, err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return sandbox.Entry{}, err
	}
	h.Name = name
	if d.IsDir() {
		h.Name += "/"
	}
	e := sandbox.Entry{Header: *h}
	if info.Mode().IsRegular() {
		e.Content, err = os.ReadFile(path)
	}
	return e, err
}
