package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	bigServices   = 10_000
	connects      = 2_000 // of each kind in one round
	connectsATurn = 100
)

// measureConnect connects to a pod, through a service and directly, by turns of 100 connections, while the kernel leads 10,000
// services. It connects through the last of them, after it has connected through each.
func measureConnect(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		load := b.row(row{Name: "10,000 services, from the push's start to the kernel", Unit: "s"})
		rw := b.row(row{Name: "connect through a service, 10,000 loaded", Unit: "µs", FloorIs: "direct", AimRatio: 1.05})
		r, err := tenManifests(ctx, n, "connect")
		if err != nil {
			return err
		}
		if _, _, err := n.pushUntilReady(ctx, r, "web", "v1", 1); err != nil {
			return err
		}
		p, err := r.change(ctx, manyServices())
		if err != nil {
			return err
		}
		direct, services, err := n.addresses(ctx)
		if err != nil {
			return err
		}
		for _, s := range services {
			if err := reach(ctx, s, patience); err != nil {
				return err
			}
		}
		load.ours(time.Since(p.started).Seconds())
		for range b.rounds {
			through, plain, err := compareConnects(services[len(services)-1], direct)
			if err != nil {
				return err
			}
			rw.ours(through)
			rw.floor(plain)
		}
		return nil
	})
}

// manyServices are in files of 100; all lead to the same pods.
func manyServices() map[string]string {
	files := map[string]string{}
	for f := range bigServices / 100 {
		var all []string
		for i := range 100 {
			all = append(all, service(fmt.Sprintf("s-%05d", 100*f+i), "web"))
		}
		files[fmt.Sprintf("services/%03d.yaml", f)] = strings.Join(all, documents)
	}
	return files
}

// addresses are where the pod and its services answer; the latter in the order of their names.
func (n *node) addresses(ctx context.Context) (direct netip.AddrPort, services []netip.AddrPort, err error) {
	pods, err := n.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return direct, nil, err
	}
	if len(pods.Items) != 1 {
		return direct, nil, fmt.Errorf("%d pods, want 1", len(pods.Items))
	}
	addr, err := netip.ParseAddr(pods.Items[0].Status.PodIP)
	if err != nil {
		return direct, nil, err
	}
	list, err := n.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return direct, nil, err
	}
	for _, s := range list.Items {
		addr, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil {
			return direct, nil, fmt.Errorf("service %s: %w", s.Name, err)
		}
		services = append(services, netip.AddrPortFrom(addr, 80))
	}
	if len(services) != bigServices {
		return direct, nil, fmt.Errorf("%d services, want %d", len(services), bigServices)
	}
	return netip.AddrPortFrom(addr, 8080), services, nil
}

// reach connects, as often as it takes.
func reach(ctx context.Context, to netip.AddrPort, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; {
		err := connectOnce(to)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("connect to %s: %w", to, err)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// compareConnects returns the medians, in microseconds, of connecting and closing through a service, and directly. A mean would
// be of who else had the CPU.
func compareConnects(service, direct netip.AddrPort) (through, plain float64, err error) {
	var ours, theirs []float64
	for turn := range connects / connectsATurn {
		err := turns(turn, func() error { return connectMany(service, &ours) }, func() error { return connectMany(direct, &theirs) })
		if err != nil {
			return 0, 0, err
		}
	}
	return median(ours), median(theirs), nil
}

func connectMany(to netip.AddrPort, took *[]float64) error {
	for range connectsATurn {
		started := time.Now()
		err := connectOnce(to)
		if errors.Is(err, unix.EINTR) {
			continue // the runtime's own signal came between: no sample
		}
		if err != nil {
			return fmt.Errorf("connect to %s: %w", to, err)
		}
		*took = append(*took, float64(time.Since(started).Nanoseconds())/1e3)
	}
	return nil
}

// connectOnce connects and resets: a connection that is closed in good order would hold its port for a minute.
func connectOnce(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	patience := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience); err != nil {
		return err
	}
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
}
