package containerd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

// listener notes what a registry is asked.
type listener struct {
	mu    sync.Mutex
	asked []string // method, path, and range if there is one
	shown []string // credentials
	next  http.Handler
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked = append(l.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	if a := r.Header.Get("Authorization"); a != "" {
		l.shown = append(l.shown, a)
	}
	l.mu.Unlock()
	l.next.ServeHTTP(w, r)
}

func (l *listener) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, a := range l.asked {
		if strings.Contains(a, part) {
			n++
		}
	}
	return n
}

// stocked is a registry with the test image as web:v1.
func stocked(n *node) *listener {
	n.Helper()
	l := &listener{next: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	prog, err := runtimetest.Image(os.Getenv(program), "")
	n.ok(err)
	push(n, l.next, "web", "v1", prog)
	return l
}

// certificate writes that of a TLS server into a file.
func certificate(n *node, s *httptest.Server) string {
	n.Helper()
	path := filepath.Join(n.TempDir(), "server.crt")
	n.ok(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return path
}

// keyPair writes a server's certificate and key, to be used as those of a client.
func keyPair(n *node, s *httptest.Server) (cert, key string) {
	n.Helper()
	cert = certificate(n, s)
	b, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	n.ok(err)
	key = filepath.Join(filepath.Dir(cert), "server.key")
	n.ok(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), 0o600))
	return cert, key
}

func TestARegistryIsReachedAsItIsConfigured(t *testing.T) {
	n := emptyNode(t)
	n.start()
	n.Images.Registries = filepath.Join(n.Dir, "registries")
	stock := stocked(n)
	plain := httptest.NewServer(stock)
	defer plain.Close()
	secure := httptest.NewTLSServer(stock)
	defer secure.Close()
	mutual := httptest.NewUnstartedServer(stock)
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	mutual.StartTLS()
	defer mutual.Close()
	below := httptest.NewServer(http.StripPrefix("/sub/api", stock))
	defer below.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	cert, key := keyPair(n, mutual)
	for i, row := range []struct{ sentence, hosts, why string }{
		{"a mirror, by plain HTTP", fmt.Sprintf("[host.%q]", plain.URL), ""},
		{"one that is away is passed over", fmt.Sprintf("[host.%q]\n[host.%q]", dead.URL, plain.URL), ""},
		{"another server in its place", fmt.Sprintf("server = %q", plain.URL), ""},
		{"one whose certificate is not known", fmt.Sprintf("server = %q", secure.URL), "certificate signed by unknown authority"},
		{"one with a CA of its own", fmt.Sprintf("server = %q\nca = %q", secure.URL, certificate(n, secure)), ""},
		{"one that need not be verified", fmt.Sprintf("server = %q\nskip_verify = true", secure.URL), ""},
		{"one that wants a client's certificate", fmt.Sprintf("server = %q\nca = %q", mutual.URL, cert), "certificate required"},
		{"and gets it", fmt.Sprintf("server = %q\nca = %q\nclient = [[%q, %q]]", mutual.URL, cert, cert, key), ""},
		{"one whose API is elsewhere", fmt.Sprintf("server = \"%s/sub/api/v2\"\noverride_path = true", below.URL), ""},
		{"a file that is none", "server = ", "registry configuration " + n.Images.Registries + "/registry8.test: failed to decode hosts.toml"},
		{"a capability that there is not", fmt.Sprintf("[host.%q]\ncapabilities = [\"fly\"]", plain.URL), "unknown capability fly"},
		{"a CA that is not there", fmt.Sprintf("server = %q\nca = \"nope.crt\"", secure.URL), "nope.crt"},
	} {
		host := fmt.Sprintf("registry%d.test", i)
		if strings.Contains(row.why, "registry8") {
			row.why = strings.Replace(row.why, "registry8.test", host, 1)
		}
		n.ok(os.MkdirAll(filepath.Join(n.Images.Registries, host), 0o755))
		n.ok(os.WriteFile(filepath.Join(n.Images.Registries, host, "hosts.toml"), []byte(row.hosts), 0o644))
		_, err := n.Images.Pull(t.Context(), host+"/web:v1", image.Auth{}, image.Follow{})
		if row.why == "" && err != nil || row.why != "" && (err == nil || !strings.Contains(err.Error(), row.why)) {
			t.Errorf("%s: got %v", row.sentence, err)
		}
	}
	// On loopback without a word about it: plain HTTP, and HTTPS.
	for _, url := range []string{plain.URL, secure.URL} {
		_, host, _ := strings.Cut(url, "://")
		if _, err := n.Images.Pull(t.Context(), host+"/web:v1", image.Auth{}, image.Follow{}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestCredentialsAreShownToTheRegistryAlone(t *testing.T) {
	n := emptyNode(t)
	n.start()
	n.Images.Registries = n.Dir
	locked := func(next http.Handler) *listener {
		return &listener{next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); !ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})}
	}
	stock := stocked(n)
	own, other := locked(stock), locked(stock)
	registry, mirror := httptest.NewServer(own), httptest.NewServer(other)
	defer registry.Close()
	defer mirror.Close()
	_, host, _ := strings.Cut(registry.URL, "://")
	n.ok(os.Mkdir(filepath.Join(n.Dir, host), 0o755))
	n.ok(os.WriteFile(filepath.Join(n.Dir, host, "hosts.toml"), []byte(fmt.Sprintf("server = %q\n[host.%q]\n", registry.URL, mirror.URL)), 0o644))
	_, err := n.Images.Pull(t.Context(), host+"/web:v1", image.Auth{Username: "me", Password: "secret"}, image.Follow{})
	n.ok(err)
	if len(own.shown) == 0 || len(other.shown) > 0 || other.count("/v2/web/") == 0 {
		t.Errorf("the registry was shown %v, its mirror, which was asked %v, %v", own.shown, other.asked, other.shown)
	}
}

func TestWhatIsHereIsOnlyAskedFor(t *testing.T) {
	n := emptyNode(t)
	n.start()
	stock := stocked(n)
	server := httptest.NewServer(stock)
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/web:v1"
	turns := 0
	follow := image.Follow{Turn: func(context.Context) error { turns++; return nil }}
	first, err := n.Images.Pull(t.Context(), ref, image.Auth{}, follow)
	n.ok(err)
	gets := stock.count("GET /v2/web/")
	again, err := n.Images.Pull(t.Context(), ref, image.Auth{}, follow)
	n.ok(err)
	if again.ID != first.ID || stock.count("GET /v2/web/") != gets || turns != 1 || gets == 0 {
		t.Errorf("got %s and %s in %d turns by %v", first.ID, again.ID, turns, stock.asked)
	}
	byDigest, err := n.Images.Pull(t.Context(), strings.TrimSuffix(ref, ":v1")+"@"+first.ID, image.Auth{}, follow)
	if err != nil || byDigest.ID != first.ID {
		t.Errorf("by its digest: %+v, %v", byDigest, err)
	}
	// The tag moves.
	moved, err := runtimetest.Image(os.Getenv(program), "app")
	n.ok(err)
	push(n, stock.next, "web", "v1", moved)
	third, err := n.Images.Pull(t.Context(), ref, image.Auth{}, follow)
	if err != nil || third.ID == first.ID || third.Config.User != "app" {
		t.Errorf("after the tag moved: %+v, %v", third, err)
	}
}

// ofPlatform makes an image one for this machine.
func ofPlatform(n *node, i v1.Image) v1.Image {
	n.Helper()
	prog, err := runtimetest.Image(os.Getenv(program), "")
	n.ok(err)
	have, err := prog.ConfigFile()
	n.ok(err)
	config, err := i.ConfigFile()
	n.ok(err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = have.OS, have.Architecture, have.Config
	out, err := mutate.ConfigFile(i, config)
	n.ok(err)
	return out
}

func TestAPullThatWasInterruptedGoesOnFromThere(t *testing.T) {
	n := emptyNode(t)
	n.start()
	stock := stocked(n)
	large, err := random.Image(8<<20, 1)
	n.ok(err)
	large = ofPlatform(n, large)
	push(n, stock.next, "large", "v1", large)
	layers, err := large.Layers()
	n.ok(err)
	blob, err := layers[0].Digest()
	n.ok(err)
	packed, err := layers[0].Compressed()
	n.ok(err)
	data, err := io.ReadAll(packed)
	n.ok(err)
	const sent = 3 << 20
	var cut atomic.Bool
	cut.Store(true)
	plain := stock.next
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stock.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, blob.String()) {
			plain.ServeHTTP(w, r)
			return
		}
		if !cut.Load() {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data[:sent])
		w.(http.Flusher).Flush()
		<-r.Context().Done() // and no more
	})
	server := httptest.NewServer(stock)
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/large:v1"
	_, err = n.Images.Pull(ctx, ref, image.Auth{}, image.Follow{Progress: func(done, total int64) {
		if done > 1<<20 && total > 8<<20 {
			cancel()
		}
	}})
	if ctx.Err() == nil || err == nil {
		t.Fatal("it was to be interrupted:", err)
	}
	// Another process goes on with it.
	n.stop()
	n.start()
	cut.Store(false)
	if _, err := n.Images.Pull(t.Context(), ref, image.Auth{}, image.Follow{}); err != nil {
		t.Fatal(err)
	}
	if stock.count(blob.String()+" bytes=") != 1 || stock.count(blob.String()+" bytes=0-") != 0 {
		t.Errorf("asked for %v", stock.asked)
	}
	left, err := n.Client.LeasesService().List(n.in(), `labels."mainstay.dev/pull"==true`)
	if err != nil || len(left) > 0 {
		t.Errorf("leases are left: %v, %v", left, err)
	}
}

func TestImagesOfAllFormatsRun(t *testing.T) {
	n := emptyNode(t)
	n.start()
	stock := stocked(n)
	server := httptest.NewServer(stock)
	defer server.Close()
	prog, err := runtimetest.Image(os.Getenv(program), "")
	n.ok(err)
	layers, err := prog.Layers()
	n.ok(err)
	tar, err := layers[0].Uncompressed()
	n.ok(err)
	files, err := io.ReadAll(tar)
	n.ok(err)
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }
	for name, row := range map[string]struct {
		manifest, config, layer types.MediaType
		pack                    compression.Compression
	}{
		"docker": {types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer, compression.GZip},
		"oci":    {types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer, compression.GZip},
		"zstd":   {types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayerZStd, compression.ZStd},
		"plain":  {types.OCIManifestSchema1, types.OCIConfigJSON, types.OCIUncompressedLayer, compression.None},
	} {
		layer, err := tarball.LayerFromOpener(opener, tarball.WithCompression(row.pack), tarball.WithMediaType(row.layer))
		n.ok(err)
		i, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, row.manifest), row.config), layer)
		n.ok(err)
		push(n, stock.next, name, "v1", ofPlatform(n, i))
		ref := strings.TrimPrefix(server.URL, "http://") + "/" + name + ":v1"
		if _, err := n.Images.Pull(t.Context(), ref, image.Auth{}, image.Follow{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p := runtimetest.NewPod(t, n.Runtime)
		spec := p.Container("c", script.Print, "runs")
		spec.Image = ref
		if out := p.Says(spec); out != "runs" {
			t.Errorf("%s: it says %q", name, out)
		}
	}
}

func TestTheImagesDiskIsContainerds(t *testing.T) {
	n := emptyNode(t)
	n.start()
	disk, err := n.Images.Disk(t.Context())
	if err != nil || !strings.HasPrefix(disk.Path, n.Server.DataDir) || disk.Size <= 0 || disk.Free <= 0 || disk.Free > disk.Size {
		t.Errorf("got %+v, %v", disk, err)
	}
}

func TestWhatRegistriesSendIsChecked(t *testing.T) {
	n := emptyNode(t)
	n.start()
	stock := stocked(n)
	plain := stock.next
	stock.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			w.Write([]byte("something else"))
			return
		}
		plain.ServeHTTP(w, r)
	})
	server := httptest.NewServer(stock)
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/web:v1"
	_, err := n.Images.Pull(t.Context(), ref, image.Auth{}, image.Follow{})
	if e, ok := errors.AsType[*image.Error](err); !ok || e.Reason != image.Failed {
		t.Errorf("got %v", err)
	}
	if _, err := n.Images.Get(t.Context(), ref); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("it is here: %v", err)
	}
	// The next attempt is not held up by what came.
	stock.next = plain
	if _, err := n.Images.Pull(t.Context(), ref, image.Auth{}, image.Follow{}); err != nil {
		t.Error(err)
	}
}
