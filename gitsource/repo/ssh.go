package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// An sshClient knows how to log in at one host.
type sshClient struct {
	addr   address
	target string // host:port
	config ssh.ClientConfig
}

func newSSHClient(addr address, auth Credentials) (*sshClient, error) {
	c := &sshClient{addr: addr, target: withPort(addr.host)}
	c.config.User = "git"
	if addr.user != nil {
		c.config.User = addr.user.Username()
	}
	if auth.Username != "" {
		c.config.User = auth.Username
	}
	if err := c.setAuth(auth); err != nil {
		return nil, err
	}
	return c, c.setHostKeys(auth.KnownHosts)
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "22")
}

func (c *sshClient) setAuth(auth Credentials) error {
	if len(auth.Identity) > 0 {
		signer, err := parseKey(auth)
		if err != nil {
			return fmt.Errorf("read the SSH key: %w", err)
		}
		c.config.Auth = append(c.config.Auth, ssh.PublicKeys(signer))
	}
	password := auth.Password
	if url := c.addr.user; password == "" && url != nil {
		password, _ = url.Password()
	}
	if password != "" {
		c.config.Auth = append(c.config.Auth, ssh.Password(password))
	}
	if len(c.config.Auth) == 0 {
		return fmt.Errorf("%w: ssh wants a key: set identity", ErrAuth)
	}
	return nil
}

func parseKey(auth Credentials) (ssh.Signer, error) {
	if auth.Passphrase != "" {
		return ssh.ParsePrivateKeyWithPassphrase(auth.Identity, []byte(auth.Passphrase))
	}
	return ssh.ParsePrivateKey(auth.Identity)
}

// setHostKeys trusts the hosts in known_hosts. The kinds of key that it has for the host are asked for: else a host that
// is known under one kind, and prefers another, would look like an impostor.
func (c *sshClient) setHostKeys(lines []byte) error {
	check, err := parseKnownHosts(lines)
	if err != nil {
		return fmt.Errorf("read known_hosts: %w", err)
	}
	known := knownKeys(check, c.target)
	if len(known) == 0 {
		return c.unknownHost()
	}
	c.config.HostKeyAlgorithms = algorithms(known)
	c.config.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		if err := check(host, remote, key); err != nil {
			return fmt.Errorf("%w: it is not the one in known_hosts (now %s %s): somebody may be in between, or the host has a new one",
				ErrHostKey, key.Type(), ssh.FingerprintSHA256(key))
		}
		return nil
	}
	return nil
}

func (c *sshClient) unknownHost() error {
	host, port, _ := net.SplitHostPort(c.target)
	scan := "ssh-keyscan " + host
	if port != "22" {
		scan = "ssh-keyscan -p " + port + " " + host
	}
	return fmt.Errorf("%w: it is not in known_hosts: add what `%s` prints, after you have checked it", ErrHostKey, scan)
}

// parseKnownHosts needs a file.
func parseKnownHosts(lines []byte) (ssh.HostKeyCallback, error) {
	f, err := os.CreateTemp("", "known_hosts-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(lines); err != nil {
		return nil, err
	}
	return knownhosts.New(f.Name())
}

// knownKeys asks with a key that nobody has which ones are known.
func knownKeys(check ssh.HostKeyCallback, target string) []string {
	var unknown *knownhosts.KeyError
	if !errors.As(check(target, &net.TCPAddr{}, nobodysKey{}), &unknown) {
		return nil
	}
	var types []string
	for _, known := range unknown.Want {
		types = append(types, known.Key.Type())
	}
	return types
}

// nobodysKey is a public key that no host has.
type nobodysKey struct{}

func (nobodysKey) Type() string                        { return "none" }
func (nobodysKey) Marshal() []byte                     { return []byte("none") }
func (nobodysKey) Verify([]byte, *ssh.Signature) error { return ErrHostKey }

// algorithms are those by which a host can prove that it has such keys.
func algorithms(keyTypes []string) []string {
	var algos []string
	for _, t := range keyTypes {
		if t == ssh.KeyAlgoRSA { // never with SHA-1
			algos = append(algos, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algos = append(algos, t)
		}
	}
	slices.Sort(algos)
	return slices.Compact(algos)
}

// dial logs in and starts git-upload-pack. The connection ends with ctx.
func (c *sshClient) dial(ctx context.Context) (peer, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", c.target)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	p := &sshPeer{stop: stop, conn: conn}
	if err := p.start(c); err != nil {
		p.close()
		return nil, c.explain(err)
	}
	return p, nil
}

func (c *sshClient) close() {}

func (c *sshClient) explain(err error) error {
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w: the host does not take the key for user %s", ErrAuth, c.config.User)
	}
	return err
}

// An sshPeer is a git-upload-pack at the other end of an SSH connection.
type sshPeer struct {
	conn    net.Conn
	client  *ssh.Client
	session *ssh.Session
	stop    func() bool
	stdin   io.WriteCloser
	stdout  io.Reader
	stderr  firstBytes
}

func (p *sshPeer) start(c *sshClient) error {
	conn, channels, requests, err := ssh.NewClientConn(p.conn, c.target, &c.config)
	if err != nil {
		return err
	}
	p.client = ssh.NewClient(conn, channels, requests)
	if p.session, err = p.client.NewSession(); err != nil {
		return err
	}
	p.session.Stderr = &p.stderr
	if p.stdin, err = p.session.StdinPipe(); err != nil {
		return err
	}
	if p.stdout, err = p.session.StdoutPipe(); err != nil {
		return err
	}
	return p.session.Start(uploadPack + " " + quote(c.addr.path))
}

// quote makes one word for a shell of what may be anything.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (p *sshPeer) advertise(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(&explained{p}), nil
}

func (p *sshPeer) ask(_ context.Context, request []byte) (io.ReadCloser, error) {
	if _, err := p.stdin.Write(request); err != nil {
		return nil, err
	}
	return io.NopCloser(p.stdout), nil
}

func (p *sshPeer) close() {
	p.stop()
	if p.client != nil {
		p.client.Close()
	}
	p.conn.Close()
}

// explained reads stdout; if that ends early, the reason is what the other end wrote to stderr.
type explained struct{ peer *sshPeer }

func (e *explained) Read(b []byte) (int, error) {
	n, err := e.peer.stdout.Read(b)
	if err == io.EOF && e.peer.session.Wait() != nil && e.peer.stderr.Len() > 0 {
		return n, fmt.Errorf("%w: the host says: %s", ErrNoRemote, printable(strings.TrimSpace(e.peer.stderr.String())))
	}
	return n, err
}

// firstBytes keeps the first kilobyte of what is written.
type firstBytes struct{ bytes.Buffer }

func (f *firstBytes) Write(b []byte) (int, error) {
	f.Buffer.Write(b[:min(len(b), max(1024-f.Len(), 0))])
	return len(b), nil
}
