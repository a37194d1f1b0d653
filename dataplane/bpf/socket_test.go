package bpf_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/internal/kerneltest"
	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
)

// serve answers each connection, or datagram, at addr in the node's namespace with name, until the test ends.
func (n *node) serve(t testing.TB, network, addr, name string) {
	t.Helper()
	n.ns.Do(t, func() error { return serve(t, network, addr, name) })
}

func serve(t testing.TB, network, addr, name string) error {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				c.WriteTo([]byte(name), from)
			}
		}()
		return nil
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, name)
			c.Close()
		}
	}()
	return nil
}

// asks checks that a client in the node's namespace is answered by one of names, and sees addr as its peer.
func (n *node) asks(t testing.TB, network, addr string, names ...string) {
	t.Helper()
	n.ns.Do(t, func() error { return asks(network, addr, names...) })
}

func asks(network, addr string, names ...string) error {
	c, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if strings.HasPrefix(network, "udp") {
		if _, err := c.Write([]byte("?")); err != nil {
			return err
		}
	}
	b := make([]byte, 64)
	k, err := c.Read(b)
	if err != nil && err != io.EOF {
		return err
	}
	if c.RemoteAddr().String() != addr {
		return fmt.Errorf("the peer of %s is %s", addr, c.RemoteAddr())
	}
	for _, name := range names {
		if string(b[:k]) == name {
			return nil
		}
	}
	return fmt.Errorf("%s answered %q, want one of %q", addr, b[:k], names)
}

// A sock is a socket without any of Go's conveniences.
type sock int

func newSock(family, kind int) (sock, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	}
	return sock(fd), err
}

// to is addr for the family of a socket: that of IPv6 takes it mapped.
func to(family int, addr string) unix.Sockaddr {
	a := netip.MustParseAddrPort(addr)
	if family == unix.AF_INET6 {
		return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}
	}
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

// name is the address in s, unmapped.
func name(s unix.Sockaddr) string {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port)).String()
	}
	return fmt.Sprint(s)
}

// says sends a datagram and returns the answer and whom it seems to come from.
func (s sock) says(peer unix.Sockaddr) (answer, from string, err error) {
	if err := unix.Sendto(int(s), []byte("?"), 0, peer); err != nil {
		return "", "", err
	}
	b := make([]byte, 64)
	k, addr, err := unix.Recvfrom(int(s), b, 0)
	if err != nil {
		return "", "", err
	}
	return string(b[:k]), name(addr), nil
}

func (s sock) Close() { unix.Close(int(s)) }

// families are the kinds of sockets that can call an IPv4 address.
var families = map[string]int{"an IPv4 socket": unix.AF_INET, "an IPv6 socket with a mapped address": unix.AF_INET6}

func TestAConnectionToAServiceIsLedToABackendAndSeesTheServiceAsItsPeer(t *testing.T) {
	n := newNode(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.serve(t, "tcp4", "127.0.0.2:8081", "b")
	n.lead(t, "10.96.0.10:80/TCP", "127.0.0.1:8080", "127.0.0.2:8081")
	for says, family := range families {
		t.Run(says, func(t *testing.T) {
			seen := map[string]int{}
			n.ns.Do(t, func() error {
				for range 64 {
					answer, peer, err := call(family, "10.96.0.10:80")
					if err != nil {
						return err
					}
					if peer != "10.96.0.10:80" {
						return fmt.Errorf("the peer is %s", peer)
					}
					seen[answer]++
				}
				return nil
			})
			if seen["a"] == 0 || seen["b"] == 0 || seen["a"]+seen["b"] != 64 {
				t.Errorf("answers: %v, want some of a and b", seen)
			}
		})
	}
}

// call connects over TCP, and returns what the server says and who the peer seems to be.
func call(family int, addr string) (answer, peer string, err error) {
	s, err := newSock(family, unix.SOCK_STREAM)
	if err != nil {
		return "", "", err
	}
	defer s.Close()
	if err := unix.Connect(int(s), to(family, addr)); err != nil {
		return "", "", err
	}
	b := make([]byte, 64)
	k, err := unix.Read(int(s), b)
	if err != nil {
		return "", "", err
	}
	p, err := unix.Getpeername(int(s))
	return string(b[:k]), name(p), err
}

func TestAConnectedUDPSocketIsLedAndSeesTheService(t *testing.T) {
	n := newNode(t)
	n.serve(t, "udp4", "127.0.0.1:5353", "a")
	n.lead(t, "10.96.0.10:53/UDP", "127.0.0.1:5353")
	for says, family := range families {
		t.Run(says, func(t *testing.T) {
			n.ns.Do(t, func() error {
				s, err := newSock(family, unix.SOCK_DGRAM)
				if err != nil {
					return err
				}
				defer s.Close()
				if err := unix.Connect(int(s), to(family, "10.96.0.10:53")); err != nil {
					return err
				}
				peer, err := unix.Getpeername(int(s))
				if err != nil || name(peer) != "10.96.0.10:53" {
					return fmt.Errorf("its peer is %s, %v", name(peer), err)
				}
				for range 3 {
					if err := sees(s, nil, "a", "10.96.0.10:53"); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

func sees(s sock, to unix.Sockaddr, answer, from string) error {
	a, f, err := s.says(to)
	if err == nil && (a != answer || f != from) {
		err = fmt.Errorf("answer %q from %s, want %q from %s", a, f, answer, from)
	}
	return err
}

func TestASocketThatTalksToSeveralServicesSeesWhichOneAnswers(t *testing.T) {
	n := newNode(t)
	n.serve(t, "udp4", "127.0.0.1:5353", "a")
	n.serve(t, "udp4", "127.0.0.2:5353", "b")
	n.lead(t, "10.96.0.10:53/UDP", "127.0.0.1:5353")
	n.lead(t, "10.96.0.11:53/UDP", "127.0.0.2:5353")
	for says, family := range families {
		t.Run(says, func(t *testing.T) {
			n.ns.Do(t, func() error {
				s, err := newSock(family, unix.SOCK_DGRAM)
				if err != nil {
					return err
				}
				defer s.Close()
				for range 3 {
					err = errors.Join(err,
						sees(s, to(family, "10.96.0.10:53"), "a", "10.96.0.10:53"),
						sees(s, to(family, "10.96.0.11:53"), "b", "10.96.0.11:53"),
						sees(s, to(family, "127.0.0.2:5353"), "b", "10.96.0.11:53")) // who answers is all that can be told
				}
				return err
			})
		})
	}
}

func TestAUDPSocketKeepsToOneBackend(t *testing.T) {
	n := newNode(t)
	var backends []string
	for i := range 8 {
		addr := fmt.Sprintf("127.0.0.%d:5353", i+1)
		backends = append(backends, addr)
		n.serve(t, "udp4", addr, addr)
	}
	n.lead(t, "10.96.0.10:53/UDP", backends...)
	n.ns.Do(t, func() error {
		seen := map[string]bool{}
		for range 24 {
			s, err := newSock(unix.AF_INET, unix.SOCK_DGRAM)
			if err != nil {
				return err
			}
			defer s.Close()
			first, _, err := s.says(to(unix.AF_INET, "10.96.0.10:53"))
			if err != nil {
				return err
			}
			seen[first] = true
			for range 8 {
				if err := sees(s, to(unix.AF_INET, "10.96.0.10:53"), first, "10.96.0.10:53"); err != nil {
					return err
				}
			}
		}
		if len(seen) < 3 {
			return fmt.Errorf("24 sockets went to %d of 8 backends", len(seen))
		}
		return nil
	})
}

func TestAServiceWithoutEndpointsRefusesAtOnce(t *testing.T) {
	n := newNode(t)
	n.lead(t, "10.96.0.10:80/TCP")
	n.lead(t, "10.96.0.10:53/UDP")
	// A frontend whose set is not there, which no order of writes makes, must not let anybody hang either.
	put(t, n.Services.Frontends, parseFrontend("10.96.0.11:80/TCP"), service.Set{ID: 77, Count: 2})
	for says, family := range families {
		t.Run(says, func(t *testing.T) {
			n.ns.Do(t, func() error {
				for _, row := range []struct {
					kind int
					addr string
				}{{unix.SOCK_STREAM, "10.96.0.10:80"}, {unix.SOCK_STREAM, "10.96.0.11:80"}, {unix.SOCK_DGRAM, "10.96.0.10:53"}} {
					s, err := newSock(family, row.kind)
					if err != nil {
						return err
					}
					defer s.Close()
					if err := unix.Connect(int(s), to(family, row.addr)); err != unix.ECONNREFUSED {
						return fmt.Errorf("connect to %s: %v, want %v", row.addr, err, unix.ECONNREFUSED)
					}
				}
				s, err := newSock(family, unix.SOCK_DGRAM)
				if err != nil {
					return err
				}
				defer s.Close()
				if err := unix.Sendto(int(s), []byte("?"), 0, to(family, "10.96.0.10:53")); err != unix.ECONNREFUSED {
					return fmt.Errorf("send: %v, want %v", err, unix.ECONNREFUSED)
				}
				return nil
			})
		})
	}
}

func TestWhatIsNoServiceIsLeftAlone(t *testing.T) {
	n := newNode(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "tcp")
	n.serve(t, "udp4", "127.0.0.1:8080", "udp")
	n.lead(t, "127.0.0.1:9090/TCP", "127.0.0.1:8080") // another port
	n.lead(t, "127.0.0.1:8080/UDP")                   // another protocol
	n.asks(t, "tcp4", "127.0.0.1:8080", "tcp")
	if err := n.ns.Try(func() error { return asks("udp4", "127.0.0.1:8080", "udp") }); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("over UDP: %v, want %v", err, unix.ECONNREFUSED)
	}
}

func TestOnlySocketsOfTheNodesNamespacesAreLed(t *testing.T) {
	n := newNode(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.lead(t, "127.0.0.9:80/TCP", "127.0.0.1:8080")
	n.asks(t, "tcp4", "127.0.0.9:80", "a")

	stranger := kerneltest.NewNetns(t)
	stranger.Do(t, func() error { return serve(t, "tcp4", "127.0.0.9:80", "the stranger's own") })
	stranger.Do(t, func() error { return asks("tcp4", "127.0.0.9:80", "the stranger's own") })

	put(t, n.Namespaces, podnet.Cookie(stranger.Cookie()), netip.MustParseAddr("10.244.0.2"))
	if err := stranger.Try(func() error { return asks("tcp4", "127.0.0.9:80", "") }); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("led to an address where nobody listens, it got %v", err)
	}
}

func TestOnlySocketsOfTheNodesCgroupAreLed(t *testing.T) {
	if os.Getenv(asClient) != "" {
		if err := asks("tcp4", "127.0.0.9:80", "a"); err != nil {
			t.Fatal(err)
		}
		return
	}
	n := newNode(t)
	n.serve(t, "tcp4", "127.0.0.1:8080", "a")
	n.lead(t, "127.0.0.9:80/TCP", "127.0.0.1:8080")
	for cgroup, led := range map[string]bool{n.cfg.Cgroup: true, kerneltest.OtherCgroup(t): false} {
		f, err := os.Open(cgroup)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var out []byte
		err = n.ns.Try(func() error {
			cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
			cmd.Env = append(os.Environ(), asClient+"=1")
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
			var err error
			out, err = cmd.CombinedOutput()
			return err
		})
		if (err == nil) != led || !led && !strings.Contains(string(out), "connection refused") {
			t.Errorf("a client in %s: %v\n%s", cgroup, err, out)
		}
	}
}

const asClient = "MAINSTAY_TEST_CLIENT"
