package receive

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const none = "0000000000000000000000000000000000000000"

// pkt is a packet of Git's protocol.
func pkt(format string, args ...any) string {
	line := fmt.Sprintf(format, args...)
	return fmt.Sprintf("%04x%s", len(line)+4, line)
}

// pushBody is the request of a push that makes a branch.
func pushBody(ref, hash string, pack []byte) []byte {
	return append([]byte(pkt("%s %s %s\x00report-status side-band-64k agent=test", none, hash, ref)+"0000"), pack...)
}

// post sends a request as it is, and returns all of the answer.
func (w *world) post(t testing.TB, service string, body []byte) string {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/app.git/"+service, bytes.NewReader(body))
	req.SetBasicAuth("ada", sesame)
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, req)
	return rec.Body.String()
}

// packOf makes a pack with git, of what rev-list --objects would list, or of the objects that are named.
func packOf(t testing.TB, dir string, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"pack-objects", "--stdout", "-q"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, gittest.Env(dir), strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sealed puts the checksum behind a pack.
func sealed(pack []byte) []byte {
	sum := sha1.Sum(pack)
	return append(bytes.Clone(pack), sum[:]...)
}

// madeUp is a pack of objects that no git would make.
func madeUp(objects ...struct {
	kind byte
	data []byte
}) []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	for _, o := range objects {
		size := len(o.data)
		first := o.kind<<4 | byte(size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b = append(b, first|0x80)
			first = byte(size & 0x7f)
		}
		b = append(b, first)
		var z bytes.Buffer
		zw := zlib.NewWriter(&z)
		zw.Write(o.data)
		zw.Close()
		b = append(b, z.Bytes()...)
	}
	return sealed(b)
}

type made = struct {
	kind byte
	data []byte
}

const (
	commitKind = 1
	treeKind   = 2
	blobKind   = 3
)

// commitOn is a commit object with a tree.
func commitOn(tr tree.Hash) []byte {
	return fmt.Appendf(nil, "tree %s\nauthor A <a@b> 1700000000 +0000\ncommitter A <a@b> 1700000000 +0000\n\nmade up\n", tr)
}

func TestPacksThatAreNotWhatTheyShouldBe(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "old", gittest.Files{"a.yaml": strings.Repeat("line\n", 500)})
	gittest.Git(t, w.work, "push", "-q", "origin", "main")
	hash := gittest.Commit(t, w.work, "new", gittest.Files{"a.yaml": strings.Repeat("line\n", 500) + "more\n"})
	good := packOf(t, w.work, "HEAD\n^HEAD~1\n", "--revs")
	blob := []byte("x\n")
	blobHash := tree.HashOf("blob", blob)
	treeOf := func(entries string) (made, made, string) {
		data := []byte(strings.ReplaceAll(entries, "HASH", string(blobHash[:])))
		commit := commitOn(tree.HashOf("tree", data))
		return made{treeKind, data}, made{commitKind, commit}, tree.HashOf("commit", commit).String()
	}
	unsorted, unsortedCommit, unsortedHash := treeOf("100644 b\x00HASH100644 a\x00HASH")
	dotGit, dotGitCommit, dotGitHash := treeOf("100644 .git\x00HASH")
	slash, slashCommit, slashHash := treeOf("100644 a/b\x00HASH")
	up, upCommit, upHash := treeOf("40000 ..\x00HASH")
	fine, fineCommit, fineHash := treeOf("100644 a\x00HASH")
	emptyCommit := bytes.Replace(fineCommit.data, []byte("\nauthor"), []byte("\nparent "+fineHash+"\nauthor"), 1)
	headless := []byte("author A <a@b> 1 +0000\n\nno tree\n")
	tests := []struct {
		name, ref, hash string
		pack            []byte
		want            string
	}{
		{"it is cut in half", "", hash, good[:len(good)/2], "its checksum does not fit"},
		{"its checksum is cut off", "", hash, good[:len(good)-20], "its checksum does not fit"},
		{"it is not there", "", hash, nil, "is missing"},
		{"it has no header", "", hash, []byte("what is this"), "it has no header"},
		{"it has objects without end", "", hash, sealed([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xf0")), "claims 4294967280 objects"},
		{"it has more behind it", "", hash, sealed(append(bytes.Clone(good[:len(good)-20]), "rubbish"...)), "bad pack"},
		{"it is thin", "", hash, packOf(t, w.work, "HEAD\n^HEAD~1\n", "--revs", "--thin", "--delta-base-offset"), "a delta whose base is not in the pack"},
		{"it is a commit without its tree", "", hash, packOf(t, w.work, hash+"\n"), "the pack is not complete"},
		{"it lacks a file of two commits that are alike", "", tree.HashOf("commit", emptyCommit).String(), madeUp(made{commitKind, emptyCommit}, fineCommit, fine), "is missing"},
		{"it is of another commit", "", strings.Repeat("ab", 20), good, "is missing"},
		{"it has what nothing refers to", "", hash, packOf(t, w.work, hash+"\n"+gittest.Git(t, w.work, "rev-parse", "HEAD^{tree}", "HEAD:a.yaml")+"\n"+stray(t, w.work)+"\n"), "nothing refers to"},
		{"a tree is out of order", "", unsortedHash, madeUp(unsortedCommit, unsorted, made{blobKind, blob}), "malformed tree"},
		{"a tree has .git in it", "", dotGitHash, madeUp(dotGitCommit, dotGit, made{blobKind, blob}), "malformed tree"},
		{"a tree has a slash in a name", "", slashHash, madeUp(slashCommit, slash, made{blobKind, blob}), "malformed tree"},
		{"a tree leads upwards", "", upHash, madeUp(upCommit, up, made{blobKind, blob}), "malformed tree"},
		{"a commit has no tree", "", tree.HashOf("commit", headless).String(), madeUp(made{commitKind, headless}), "has no tree"},
		{"a branch is a tree", "", tree.HashOf("tree", fine.data).String(), madeUp(fine, made{blobKind, blob}), "a branch must point at a commit"},
		{"an object would be huge", "", fineHash, bomb(t), "an object of 2000000000 bytes"},
		{"a name leads out of the repository", "refs/heads/../../x", fineHash, madeUp(fineCommit, fine, made{blobKind, blob}), "is no name"},
		{"a name is HEAD", "HEAD", fineHash, madeUp(fineCommit, fine, made{blobKind, blob}), "neither below"},
		{"a name ends as a lock does", "refs/heads/x.lock", fineHash, madeUp(fineCommit, fine, made{blobKind, blob}), "is no name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := tt.ref
			if ref == "" {
				ref = "refs/heads/evil"
			}
			before := gittest.Git(t, w.bare, "for-each-ref") + gittest.Git(t, w.bare, "count-objects", "-v")
			answer := w.post(t, receivePack, pushBody(ref, tt.hash, tt.pack))
			if !strings.Contains(answer, "ng "+ref) || !strings.Contains(answer, tt.want) {
				t.Errorf("want that it is refused for %q:\n%q", tt.want, answer)
			}
			if after := gittest.Git(t, w.bare, "for-each-ref") + gittest.Git(t, w.bare, "count-objects", "-v"); after != before {
				t.Errorf("something has changed:\n%s", after)
			}
		})
	}
	answer := w.post(t, receivePack, pushBody("refs/heads/fine", fineHash, madeUp(fineCommit, fine, made{blobKind, blob})))
	if !strings.Contains(answer, "ok refs/heads/fine") { // so the others were refused for what they are
		t.Errorf("got %q", answer)
	}
}

// stray makes an object that no commit has.
func stray(t *testing.T, dir string) string {
	gittest.Write(t, dir, gittest.Files{".git/stray": "stray\n"})
	return gittest.Git(t, dir, "hash-object", "-w", ".git/stray")
}

// bomb is a small pack with one blob of two gigabytes of zeros.
func bomb(t *testing.T) []byte {
	b := []byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01")
	size := 2_000_000_000
	first := byte(blobKind<<4 | size&15)
	for size >>= 4; size > 0; size >>= 7 {
		b = append(b, first|0x80)
		first = byte(size & 0x7f)
	}
	b = append(b, first)
	var z bytes.Buffer
	zw := zlib.NewWriter(&z)
	if _, err := io.CopyN(zw, zeros{}, 10<<20); err != nil { // the header claims more, which is enough
		t.Fatal(err)
	}
	zw.Close()
	return sealed(append(b, z.Bytes()...))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestADamagedPackIsNeverTaken(t *testing.T) {
	w := newWorld(t)
	gittest.Commit(t, w.work, "old", gittest.Files{"a.yaml": strings.Repeat("line\n", 500)})
	hash := gittest.Commit(t, w.work, "new", gittest.Files{"a.yaml": strings.Repeat("line\n", 500) + "more\n", "dir/b.yaml": "b\n"})
	good := packOf(t, w.work, "HEAD\n", "--revs", "--delta-base-offset")
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range 300 {
		bad := bytes.Clone(good)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		if i%2 == 0 {
			bad = sealed(bad[:len(bad)-20])
		}
		if bytes.Equal(bad, good) {
			continue // the damage was in the checksum
		}
		// A flipped bit may leave a pack of the same objects: in the level of zlib's header, say. Then it may be taken.
		answer := w.post(t, receivePack, pushBody(fmt.Sprintf("refs/heads/b%d", i), hash, bad))
		if strings.Contains(answer, "ok refs/heads/b") && i%2 == 1 {
			t.Fatalf("seed %d, round %d: it was taken", seed, i)
		}
	}
}

func TestRequestsThatAreNoPush(t *testing.T) {
	w := newWorld(t)
	many := strings.Repeat(pkt("shallow %s", none), maxShallow+1)
	var refs strings.Builder
	for i := range maxCommands + 1 {
		refs.WriteString(pkt("%s %s refs/heads/b%d\x00", none, none, i))
	}
	options := pkt("%s %s refs/heads/x\x00push-options", none, none) + "0000" + strings.Repeat(pkt("o"), maxOptions+1)
	tests := []struct{ name, body, want string }{
		{"nothing at all", "", ""},
		{"a probe", "0000", ""},
		{"no packets", "hello world", "read the commands"},
		{"half a packet", "00ff" + none, "read the commands"},
		{"too few words", pkt("hello") + "0000", "is not Git's"},
		{"no hashes", pkt("x y z") + "0000", "parse hash"},
		{"one ref twice", pkt("%s %s refs/heads/x\x00", none, none) + pkt("%s %s refs/heads/x", none, none) + "0000", "is there twice"},
		{"SHA-256", pkt("%s %s refs/heads/x\x00object-format=sha256", none, none) + "0000", "SHA-256"},
		{"very many shallow lines", many, "too many shallow lines"},
		{"very many refs", refs.String(), "more than 1000 refs"},
		{"very many options", options, "more than 64 push options"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := w.post(t, receivePack, []byte(tt.body)); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("want %q, got %q", tt.want, got)
			}
		})
	}
}

func TestAZippedRequestIsRead(t *testing.T) {
	w := newWorld(t)
	hash := gittest.Commit(t, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	zw.Write(pushBody("refs/heads/x", hash, packOf(t, w.work, "HEAD\n", "--revs")))
	zw.Close()
	for body, want := range map[string]string{z.String(): "ok refs/heads/x", "not gzip": "not the gzip that it says"} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/app.git/git-receive-pack", strings.NewReader(body))
		req.SetBasicAuth("ada", sesame)
		req.Header.Set("Content-Encoding", "gzip")
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, req)
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("want %q, got %q", want, rec.Body.String())
		}
	}
}

func FuzzPush(f *testing.F) {
	w := newWorld(f)
	hash := gittest.Commit(f, w.work, "one", gittest.Files{"a.yaml": "a\n", "dir/b.yaml": "b\n"})
	f.Add(pushBody("refs/heads/x", hash, packOf(f, w.work, "HEAD\n", "--revs")))
	f.Add(pushBody("refs/heads/x", none, nil))
	f.Add([]byte(pkt("%s %s refs/heads/x\x00push-options atomic side-band-64k", none, hash) + "0000" + pkt("a=b") + "0000PACK"))
	f.Add([]byte("0000"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if start := bytes.Index(body, []byte("PACK")); start >= 0 && len(body) > start+20 {
			body = append(bytes.Clone(body[:start]), sealed(body[start:len(body)-20])...) // else the checksum keeps all out
		}
		w.post(t, receivePack, body)
		r, err := w.hosted.Open("app")
		if err != nil {
			t.Fatal(err)
		}
		refs, err := r.Refs()
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs { // what was taken can be read to the end
			complete(t, r, ref)
		}
	})
}

func complete(t *testing.T, r *repo.Repository, ref repo.Ref) {
	rd, err := r.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if strings.HasPrefix(ref.Name, "refs/tags/") {
		return // may name anything
	}
	c, err := rd.Commit(ref.Hash)
	if err != nil {
		t.Fatal(err)
	}
	for change, err := range tree.Diff(rd, tree.Side{}, tree.Side{Tree: c.Tree}) {
		if err == nil && change.New.Mode != tree.Submodule {
			_, err = rd.Blob(change.New.Hash)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzFetch(f *testing.F) {
	w := newWorld(f)
	first := gittest.Commit(f, w.work, "one", gittest.Files{"a.yaml": "a\n"})
	hash := gittest.Commit(f, w.work, "two", gittest.Files{"a.yaml": "b\n"})
	gittest.Git(f, w.work, "push", "-q", "origin", "main")
	f.Add([]byte(pkt("want %s side-band-64k ofs-delta\n", hash) + "0000" + pkt("done\n")))
	f.Add([]byte(pkt("want %s\n", hash) + pkt("shallow %s\n", first) + pkt("deepen 1\n") + "0000" + pkt("have %s\n", first) + "0000"))
	f.Fuzz(func(t *testing.T, body []byte) { w.post(t, uploadPack, body) })
}

func TestAClientThatFallsSilentIsGivenUp(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Idle = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	login := base64.StdEncoding.EncodeToString([]byte("ada:" + sesame))
	fmt.Fprintf(conn, "POST /app.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic %s\r\nContent-Length: 1000\r\n\r\n0080", login)
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	answer, err := io.ReadAll(conn) // to the end: the server hangs up
	if err != nil || !strings.Contains(string(answer), "read the commands") {
		t.Errorf("got %q, %v", answer, err)
	}
}
