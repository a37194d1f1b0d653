package gitsource

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web%[1]d
  namespace: team%[2]d
  labels: {app: web%[1]d, tier: front}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: web%[1]d}}
  template:
    metadata: {labels: {app: web%[1]d}}
    spec:
      containers:
      - name: web
        image: registry.example.com/team%[2]d/web:v1
        ports: [{containerPort: 8080, name: http}]
        env:
        - {name: GREETING, value: hello}
        resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 5}
`

// manyManifests are n deployments in folders of twenty.
func manyManifests(n int) gittest.Files {
	files := gittest.Files{}
	for i := range n {
		files[fmt.Sprintf("apps/a%03d/f%02d.yaml", i/20, i%20)] = fmt.Sprintf(deployment, i, i/20, 1)
	}
	return files
}

// served is a bare repository of n manifests behind git http-backend.
func served(b *testing.B, n int) (bare, url string) {
	root := b.TempDir()
	bare = gittest.Bare(b, root, "app.git")
	gittest.Import(b, bare, "main", manyManifests(n))
	gittest.Git(b, bare, "repack", "-a", "-d", "-q")
	return bare, gittest.Serve(b, gittest.Backend(b, root)) + "/app.git"
}

func touch(b *testing.B, bare string, i int) {
	gittest.Import(b, bare, "main", gittest.Files{"apps/a003/f03.yaml": fmt.Sprintf(deployment, 63, 3, 2+i)})
}

var sizes = []int{10, 1000, 10_000}

func BenchmarkFetchNothingNew(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, url := served(b, n)
			s := open(b, Spec{URL: url})
			fetch(b, s)
			for b.Loop() {
				fetch(b, s)
			}
		})
	}
}

func BenchmarkFetchNothingNewByGit(b *testing.B) {
	_, url := served(b, 1000)
	dir := b.TempDir()
	gittest.Git(b, dir, "clone", "-q", "--bare", "--depth=1", url, ".")
	for b.Loop() {
		gittest.Git(b, dir, "fetch", "-q", "--depth=1", url, "main")
	}
}

// BenchmarkOneChangedFile is a fetch over http and a load, of a commit with one file changed.
func BenchmarkOneChangedFile(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare, url := served(b, n)
			s := open(b, Spec{URL: url})
			last := fetch(b, s)
			mustLoad(b, s, Commit{}, last)
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				touch(b, bare, i)
				b.StartTimer()
				c := fetch(b, s)
				if change := mustLoad(b, s, last, c); len(change.Files) != 1 && i > 0 {
					b.Fatal(len(change.Files))
				}
				last = c
			}
		})
	}
}

// BenchmarkOneChangedFileLocally is the same without a network: a repository of this machine.
func BenchmarkOneChangedFileLocally(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare, _ := served(b, n)
			s := open(b, Spec{URL: "file://" + bare})
			last := fetch(b, s)
			mustLoad(b, s, Commit{}, last)
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				touch(b, bare, i)
				b.StartTimer()
				c := fetch(b, s)
				mustLoad(b, s, last, c)
				last = c
			}
		})
	}
}

func BenchmarkOneChangedFileByGit(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare, url := served(b, n)
			dir := filepath.Join(b.TempDir(), "clone")
			gittest.Git(b, filepath.Dir(dir), "clone", "-q", "--bare", "--depth=1", url, dir)
			b.ResetTimer()
			for i := range b.N {
				b.StopTimer()
				touch(b, bare, i)
				b.StartTimer()
				gittest.Git(b, dir, "fetch", "-q", "--depth=1", url, "+main:main")
			}
		})
	}
}

// BenchmarkFirstLoad decodes all manifests of a repository of this machine.
func BenchmarkFirstLoad(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare, _ := served(b, n)
			for b.Loop() {
				s := open(b, Spec{URL: "file://" + bare, Cache: decode.NewCache(16 << 20)})
				c := fetch(b, s)
				if change := mustLoad(b, s, Commit{}, c); change.Manifests != n {
					b.Fatal(change.Manifests)
				}
			}
		})
	}
}

// BenchmarkFirstReadByGit reads all files of the repository with git.
func BenchmarkFirstReadByGit(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			bare, _ := served(b, n)
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), "git", "archive", "main")
				cmd.Dir, cmd.Env = bare, gittest.Env(bare)
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMirrorAnew fetches everything over http into an empty mirror.
func BenchmarkMirrorAnew(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, url := served(b, n)
			for b.Loop() {
				fetch(b, open(b, Spec{URL: url}))
			}
		})
	}
}

func BenchmarkLookAtAFolder(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			gittest.Write(b, dir, manyManifests(n))
			s := open(b, Spec{URL: "file://" + dir})
			fetch(b, s)
			for b.Loop() {
				fetch(b, s)
			}
		})
	}
}
