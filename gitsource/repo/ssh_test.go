package repo

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
)

// sshServer runs git-upload-pack for whoever has the key. It has two host keys.
type sshServer struct {
	addr           string
	ecdsa, ed25519 ssh.PublicKey
	client         []byte // the key that it lets in, as PEM
}

func newSSHServer(t *testing.T) *sshServer {
	t.Helper()
	s := &sshServer{}
	clientPub, client := newKey(t)
	s.client = client
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || !bytes.Equal(key.Marshal(), clientPub.Marshal()) {
			return nil, errors.New("no")
		}
		return nil, nil
	}}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{edKey, ecKey} {
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		config.AddHostKey(signer)
		if signer.PublicKey().Type() == ssh.KeyAlgoED25519 {
			s.ed25519 = signer.PublicKey()
		} else {
			s.ecdsa = signer.PublicKey()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	var wg sync.WaitGroup
	home := t.TempDir()
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { serveSSH(conn, config, home) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return s
}

func newKey(t *testing.T) (ssh.PublicKey, []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return sshPub, pem.EncodeToMemory(block)
}

func serveSSH(conn net.Conn, config *ssh.ServerConfig, home string) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		ch, reqs, err := c.Accept()
		if err != nil {
			return
		}
		for r := range reqs {
			var exe struct{ Command string }
			if r.Type != "exec" || ssh.Unmarshal(r.Payload, &exe) != nil || !strings.HasPrefix(exe.Command, "git-upload-pack ") {
				r.Reply(false, nil)
				continue
			}
			r.Reply(true, nil)
			runUploadPack(ch, exe.Command, home)
		}
	}
}

func runUploadPack(ch ssh.Channel, command, home string) {
	defer ch.Close()
	cmd := exec.Command("sh", "-c", strings.Replace(command, "git-upload-pack", "git upload-pack", 1))
	cmd.Env = gittest.Env(home)
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	status := struct{ Status uint32 }{128}
	if in, err := cmd.StdinPipe(); err == nil && cmd.Start() == nil {
		go func() { // ends with the channel
			io.Copy(in, ch)
			in.Close()
		}()
		if cmd.Wait() == nil {
			status.Status = 0
		}
	}
	ch.SendRequest("exit-status", false, ssh.Marshal(status))
}

func (s *sshServer) known(keys ...ssh.PublicKey) []byte {
	var lines []string
	for _, k := range keys {
		lines = append(lines, knownhosts.Line([]string{knownhosts.Normalize(s.addr)}, k))
	}
	return []byte(strings.Join(lines, "\n"))
}

func TestAMirrorOverSSH(t *testing.T) {
	s := newSSHServer(t)
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n", "dir/it's here.yaml": "b\n"})
	for name, key := range map[string]ssh.PublicKey{"ed25519": s.ed25519, "ecdsa": s.ecdsa} { // either of the host's keys will do
		t.Run(name, func(t *testing.T) {
			m := openMirror(t, Remote{URL: "ssh://git@" + s.addr + r.bare, Auth: Credentials{Identity: s.client, KnownHosts: s.known(key)}})
			first := fetch(t, m)
			if again := fetch(t, m); again.Hash != first.Hash {
				t.Errorf("got %s, want %s", again.Hash, first.Hash)
			}
			hash := r.commit(t, "two", gittest.Files{"a.yaml": name})
			c := fetch(t, m)
			if c.Hash.String() != hash || mirrored(t, m, c)["a.yaml"] != name {
				t.Errorf("got %s, want %s", c.Hash, hash)
			}
		})
	}
}

func TestWhatIsWrongWithSSHIsSaidInWords(t *testing.T) {
	s := newSSHServer(t)
	r := newRemote(t)
	r.commit(t, "one", gittest.Files{"a.yaml": "a\n"})
	stranger, wrong := newKey(t)
	_, port, _ := net.SplitHostPort(s.addr)
	url := "ssh://git@" + s.addr + r.bare
	good := Credentials{Identity: s.client, KnownHosts: s.known(s.ed25519)}
	tests := []struct {
		name string
		url  string
		auth Credentials
		want error
		text string
	}{
		{"the host is not known", url, Credentials{Identity: s.client}, ErrHostKey, "ssh-keyscan -p " + port + " 127.0.0.1"},
		{"the host has another key", url, Credentials{Identity: s.client, KnownHosts: s.known(stranger)}, ErrHostKey, "somebody may be in between"},
		{"the key is not let in", url, Credentials{Identity: wrong, KnownHosts: good.KnownHosts}, ErrAuth, "does not take the key for user git"},
		{"there is no key", url, Credentials{KnownHosts: good.KnownHosts}, ErrAuth, "set identity"},
		{"the key is none", url, Credentials{Identity: []byte("rubbish"), KnownHosts: good.KnownHosts}, nil, "read the SSH key"},
		{"the repository is not there", url + "x", good, ErrNoRemote, "does not appear to be a git repository"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := OpenMirror(t.TempDir(), Remote{URL: tt.url, Auth: tt.auth})
			if err == nil {
				_, err = m.Fetch(t.Context())
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
		})
	}
}

func TestASilentSSHServerIsGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &sshServer{addr: l.Addr().String()}
	pub, key := newKey(t)
	m := openMirror(t, Remote{URL: "ssh://git@" + s.addr + "/x", Idle: 50 * time.Millisecond,
		Auth: Credentials{Identity: key, KnownHosts: s.known(pub)}})
	if _, err := m.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "has sent nothing") {
		t.Errorf("got %v", err)
	}
}

func TestAddressesAreReadAsGitReadsThem(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"https://github.com/a/b.git", "https://github.com/a/b.git"},
		{"https://user:secret@host:8443/a/b", "https://host:8443/a/b"},
		{"ssh://git@host/a/b.git", "ssh://host/a/b.git"},
		{"git@github.com:a/b.git", "ssh://github.com/a/b.git"},
		{"host:a/b", "ssh://host/a/b"},
		{"ftp://host/a", ""}, {"https://host", ""}, {"host", ""}, {"/path", ""}, {"./a:b", ""}, {"-oProxyCommand=x:y", ""},
		{"ssh://-oProxyCommand=x/y", ""}, {"", ""}, {"https:///x", ""},
	} {
		a, err := parseURL(tt.url)
		if got := a.String(); err == nil && got != tt.want || err != nil && tt.want != "" {
			t.Errorf("%q: got %q and %v, want %q", tt.url, got, err, tt.want)
		}
		if err != nil && !errors.Is(err, ErrURL) {
			t.Errorf("%q: got %v", tt.url, err)
		}
	}
}
