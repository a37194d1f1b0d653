package receive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
)

// manifests are n files in folders of twenty.
func manifests(n int) gittest.Files {
	files := gittest.Files{}
	for i := range n {
		files[fmt.Sprintf("apps/a%03d/f%02d.yaml", i/20, i%20)] = fmt.Sprintf(
			"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c%d\n  namespace: n%d\ndata:\n  key: value\n", i, i/20)
	}
	return files
}

// BenchmarkServerPush is one push of one file among n, from the request's last byte to the report, inside of the server.
func BenchmarkServerPush(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n, " files"), func(b *testing.B) {
			w := newWorld(b)
			gittest.Commit(b, w.work, "first", manifests(n))
			gittest.Git(b, w.work, "push", "-q", "origin", "main")
			old := gittest.Git(b, w.work, "rev-parse", "HEAD")
			var bodies [][]byte
			for i := range b.N {
				hash := gittest.Commit(b, w.work, "change", gittest.Files{"apps/a000/f00.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x%d}\n", i)})
				pack := packOf(b, w.work, hash+"\n^"+old+"\n", "--revs")
				bodies = append(bodies, append([]byte(pkt("%s %s refs/heads/main\x00report-status side-band-64k", old, hash)+"0000"), pack...))
				old = hash
			}
			b.ResetTimer()
			for _, body := range bodies {
				if answer := w.post(b, receivePack, body); !strings.Contains(answer, "ok refs/heads/main") {
					b.Fatal(answer)
				}
			}
		})
	}
}

// BenchmarkClientPush is what git push costs the user: to a plain bare repository by path and behind git http-backend,
// and to us.
func BenchmarkClientPush(b *testing.B) {
	w := newWorld(b)
	root := b.TempDir()
	bare := gittest.Bare(b, root, "plain.git")
	gittest.Git(b, bare, "config", "http.receivepack", "true")
	backend := gittest.Serve(b, gittest.Backend(b, root))
	gittest.Bare(b, root, "web.git")
	gittest.Git(b, root+"/web.git", "config", "http.receivepack", "true")
	gittest.Commit(b, w.work, "first", manifests(1000))
	targets := []struct{ name, url string }{
		{"mainstay", w.remote("app")}, {"by path", bare}, {"http-backend", backend + "/web.git"},
	}
	for _, target := range targets {
		gittest.Git(b, w.work, "push", "-q", target.url, "main")
	}
	for _, target := range targets {
		b.Run(target.name, func(b *testing.B) {
			for i := range b.N {
				b.StopTimer()
				gittest.Commit(b, w.work, "change", gittest.Files{"apps/a000/f00.yaml": fmt.Sprintf("x: %d %s\n", i, target.name)})
				b.StartTimer()
				gittest.Git(b, w.work, "push", "-q", target.url, "main")
			}
		})
	}
}
