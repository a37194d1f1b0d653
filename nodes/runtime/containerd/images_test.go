package containerd_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/leases"
	"github.com/containerd/platforms"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// newRegistry is one on loopback, with an image in it. It returns its address.
func newRegistry(n *node, wrap func(http.Handler) http.Handler) string {
	n.Helper()
	plain := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	prog, err := runtimetest.Image(os.Getenv(program), "app")
	n.ok(err)
	push(n, plain, "web", "v1", prog)
	foreign := forPlatform(n, prog, "s390x")
	push(n, plain, "foreign", "s390x", foreign)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: foreign, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	raw, err := index.RawManifest()
	n.ok(err)
	upload(n, plain, "PUT", "/v2/foreign/manifests/v1", "application/vnd.oci.image.index.v1+json", raw)
	if wrap == nil {
		wrap = func(h http.Handler) http.Handler { return h }
	}
	server := httptest.NewServer(wrap(plain))
	n.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// push puts an image into a registry, by the calls of its protocol.
func push(n *node, to http.Handler, repository, tag string, i v1.Image) {
	n.Helper()
	path := "/v2/" + repository
	layers, err := i.Layers()
	n.ok(err)
	for _, l := range layers {
		digest, err := l.Digest()
		n.ok(err)
		blob, err := l.Compressed()
		n.ok(err)
		data, err := io.ReadAll(blob)
		n.ok(err)
		upload(n, to, "POST", path+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", data)
	}
	config, err := i.RawConfigFile()
	n.ok(err)
	digest, err := i.ConfigName()
	n.ok(err)
	upload(n, to, "POST", path+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", config)
	manifest, err := i.RawManifest()
	n.ok(err)
	kind, err := i.MediaType()
	n.ok(err)
	upload(n, to, "PUT", path+"/manifests/"+tag, string(kind), manifest)
}

func upload(n *node, to http.Handler, method, path, kind string, body []byte) {
	n.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	if to.ServeHTTP(w, r); w.Code != http.StatusCreated {
		n.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

func TestAnImageIsPulledAndRuns(t *testing.T) {
	n := emptyNode(t)
	n.start()
	ref := newRegistry(n, nil) + "/web:v1"
	puller := image.NewPuller(n.Images, 2)
	if _, err := n.Images.Get(t.Context(), ref); !errors.Is(err, image.ErrNotFound) {
		t.Fatal("before the pull:", err)
	}
	got, err := puller.Ensure(t.Context(), ref, image.IfNotPresent, image.Auth{})
	n.ok(err)
	if got.Ref != ref || !strings.HasPrefix(got.ID, "sha256:") || got.Size < 1000 || got.Config.User != "app" || strings.Join(got.Config.Entrypoint, " ") != "/prog" {
		t.Errorf("it is %+v", got)
	}
	p := runtimetest.NewPod(t, n.Runtime)
	for i, name := range []string{got.Ref, got.ID} {
		spec := p.Container(fmt.Sprint("c", i), script.ID)
		spec.Image = name
		id := p.Start(spec)
		if out, _ := p.Said(id); out != "1000 1000 63\n" {
			t.Errorf("by %s: it says %q", name, out)
		}
		if c := p.See(id); c.ImageID != got.ID {
			t.Errorf("by %s: its image is %s", name, c.ImageID)
		}
	}
	again, err := puller.Ensure(t.Context(), ref, image.Always, image.Auth{})
	if err != nil || again.ID != got.ID {
		t.Errorf("pulled again: %+v, %v", again, err)
	}
	all, err := n.Images.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Ref != ref || all[0].Size != got.Size || all[0].Loaded || all[0].Since.IsZero() {
		t.Errorf("listed: %+v, %v", all, err)
	}
	for range 2 {
		n.ok(n.Images.Remove(t.Context(), ref))
	}
	if _, err := n.Images.Get(t.Context(), ref); !errors.Is(err, image.ErrNotFound) {
		t.Error("after its removal:", err)
	}
}

func TestWhyAnImageCannotBePulledIsSaidShortly(t *testing.T) {
	n := emptyNode(t)
	n.start()
	host := newRegistry(n, nil)
	locked := newRegistry(n, func(h http.Handler) http.Handler {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:secret"))
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != want {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	broken := newRegistry(n, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) })
	})
	secure := httptest.NewTLSServer(registry.New())
	defer secure.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	gone := strings.TrimPrefix(dead.URL, "http://")

	puller := image.NewPuller(n.Images, 2)
	for _, row := range []struct {
		ref    string
		auth   image.Auth
		reason image.Reason
		text   string
	}{
		{host + "/web:v9", image.Auth{}, image.NotFound, "image " + host + "/web:v9 not found"},
		{host + "/nothing:v1", image.Auth{}, image.NotFound, "image " + host + "/nothing:v1 not found"},
		{locked + "/web:v1", image.Auth{}, image.Unauthorized, "image " + locked + "/web:v1: " + locked + " refuses access; check the pull secret, and that the image exists"},
		{locked + "/web:v1", image.Auth{Username: "me", Password: "wrong"}, image.Unauthorized, "image " + locked + "/web:v1: " + locked + " refuses access; check the pull secret, and that the image exists"},
		{locked + "/web:v1", image.Auth{Username: "me", Password: "secret"}, "", ""},
		{gone + "/web:v1", image.Auth{}, image.Unreachable, "image " + gone + "/web:v1: cannot reach " + gone + ": connection refused"},
		{"registry.invalid/web:v1", image.Auth{}, image.Unreachable, "image registry.invalid/web:v1: cannot reach registry.invalid: no such host"},
		{broken + "/web:v1", image.Auth{}, image.Failed, "image " + broken + "/web:v1: " + broken + " answers: 503 Service Unavailable"},
		{host + "/foreign:v1", image.Auth{}, image.Failed, "image " + host + "/foreign:v1: it has no variant for " + platforms.DefaultString() + ", only for linux/s390x"},
		{"mainstay.local/hello:v9", image.Auth{}, image.NotFound, "image mainstay.local/hello:v9 not found (images of mainstay.local are imported on the node, never pulled)"},
	} {
		_, err := puller.Ensure(t.Context(), row.ref, image.IfNotPresent, row.auth)
		if row.reason == "" {
			n.ok(err)
			continue
		}
		if e, ok := errors.AsType[*image.Error](err); !ok || e.Reason != row.reason || e.Error() != row.text {
			t.Errorf("got  %v\nwant %s", err, row.text)
		}
	}
}

func forPlatform(n *node, i v1.Image, arch string) v1.Image {
	n.Helper()
	config, err := i.ConfigFile()
	n.ok(err)
	config = config.DeepCopy()
	config.Architecture = arch
	out, err := mutate.ConfigFile(i, config)
	n.ok(err)
	return out
}

func TestArchivesAreImported(t *testing.T) {
	n := emptyNode(t)
	n.start()
	prog, err := runtimetest.Image(os.Getenv(program), "")
	n.ok(err)
	oci := func(annotations map[string]string) string {
		dir := filepath.Join(n.Dir, "layout")
		n.ok(os.RemoveAll(dir))
		l, err := layout.Write(dir, empty.Index)
		n.ok(err)
		n.ok(l.AppendImage(prog, layout.WithAnnotations(annotations)))
		return tarOf(n, dir)
	}
	docker := filepath.Join(n.Dir, "docker.tar")
	n.ok(runtimetest.Archive(docker, "mainstay.local/docker:v1", prog))
	foreign := filepath.Join(n.Dir, "foreign.tar")
	n.ok(runtimetest.Archive(foreign, "mainstay.local/foreign:v1", forPlatform(n, prog, "s390x")))
	text := filepath.Join(n.Dir, "text")
	n.ok(os.WriteFile(text, []byte("no archive"), 0o644))
	for _, row := range []struct{ sentence, file, ref, why string }{
		{"what docker saves", docker, "mainstay.local/docker:v1", ""},
		{"an OCI layout that names its image in full", oci(map[string]string{"io.containerd.image.name": "mainstay.local/oci:v1"}), "mainstay.local/oci:v1", ""},
		{"or by the standard's own name", oci(map[string]string{"org.opencontainers.image.ref.name": "mainstay.local/oci:v2"}), "mainstay.local/oci:v2", ""},
		{"one with nothing but a tag", oci(map[string]string{"org.opencontainers.image.ref.name": "v3"}), "", "the archive names no image"},
		{"one for another platform", foreign, "", "not for this machine's platform"},
		{"what is no archive", text, "", "import images: "},
	} {
		f, err := os.Open(row.file)
		n.ok(err)
		got, err := n.Images.Import(t.Context(), f)
		f.Close()
		if row.why != "" {
			if err == nil || !strings.Contains(err.Error(), row.why) {
				t.Errorf("%s: got %v", row.sentence, err)
			}
			continue
		}
		if err != nil || len(got) != 1 || got[0].Ref != row.ref || !got[0].Loaded {
			t.Errorf("%s: got %+v, %v", row.sentence, got, err)
			continue
		}
		p := runtimetest.NewPod(t, n.Runtime)
		spec := p.Container("c", script.Print, "runs")
		spec.Image = row.ref
		if out := p.Says(spec); out != "runs" {
			t.Errorf("%s: it says %q", row.sentence, out)
		}
	}
}

func TestAnImageThatIsNotUnpackedIsUnpackedWhenItIsNeeded(t *testing.T) {
	n := newNode(t)
	n.ok(n.Client.SnapshotService("overlayfs").Remove(n.in(), n.chain()))
	p := runtimetest.NewPod(t, n.Runtime)
	if c := p.Until(p.Start(p.Container("c", script.Exit, "0")), runtime.Exited); c.ExitCode != 0 {
		t.Errorf("it is %+v", c)
	}
}

func TestWhatAKilledProcessWasUnpackingIsGivenUp(t *testing.T) {
	n := newNode(t)
	dead := exec.Command("true")
	n.ok(dead.Run())
	for name, pid := range map[string]int{"dead": dead.Process.Pid, "alive": os.Getpid()} {
		l, err := n.Client.LeasesService().Create(n.in(), leases.WithID(name), leases.WithExpiration(time.Hour),
			leases.WithLabels(map[string]string{"mainstay.dev/process": fmt.Sprint(pid)}))
		n.ok(err)
		_, err = n.Client.SnapshotService("overlayfs").Prepare(leases.WithLease(n.in(), l.ID), "extract-"+name, "")
		n.ok(err)
	}
	n.restart()
	for name, want := range map[string]bool{"extract-dead": false, "extract-alive": true} {
		if _, err := n.Client.SnapshotService("overlayfs").Stat(n.in(), name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.ok(n.Client.LeasesService().Delete(n.in(), leases.Lease{ID: "alive"}, leases.SynchronousDelete))
}
