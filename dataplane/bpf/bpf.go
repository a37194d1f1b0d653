// Package bpf holds the programs that lead sockets to the endpoints of services, loads them, attaches them to the cgroup of
// a node, and opens their maps as tables. Programs and maps are pinned: they go on without this process, and the next one
// takes them over. It is the only door to cilium/ebpf.
package bpf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

//go:generate go tool bpf2go -go-package bpf -tags linux -target bpfel -cc clang -strip llvm-strip -cflags "-O2 -g -Wall -Werror -mcpu=v3" sock sock.c

// format of the maps, and of what is pinned. It is part of the path of the pins. Whoever changes a map raises it, and
// converts what the format before has pinned.
const format = 1

// Config says where the dataplane of one node is.
type Config struct {
	Cgroup string // folder of the node's cgroup, in a version 2 hierarchy. The programs see the sockets made in it and below.
	Run    string // folder of the node's state that a restart of the machine may lose. "bpf" in it is ours.
}

func (c Config) mount() string    { return filepath.Join(c.Run, "bpf") }
func (c Config) pins() string     { return filepath.Join(c.mount(), fmt.Sprintf("v%d", format)) }
func (c Config) mapPins() string  { return filepath.Join(c.pins(), "maps") }
func (c Config) linkPins() string { return filepath.Join(c.pins(), "links") }

// A Dataplane is what Open opened.
type Dataplane struct {
	// Services are the tables that lead calls.
	Services service.Tables
	// Namespaces are the network namespaces whose sockets are led, with the address that each is known by. The sockets of
	// all others are left alone, even in the node's cgroup.
	Namespaces target.Target[podnet.Cookie, netip.Addr]

	maps  sockMaps
	grace grace
	lock  *os.File
}

// Open loads the programs and attaches them. Maps that an earlier process has pinned are taken over with what they hold;
// calls go on being led while the programs are replaced. Only one process at a time can have a node's dataplane open.
func Open(cfg Config) (_ *Dataplane, err error) {
	d := &Dataplane{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the dataplane at %s: %w", cfg.mount(), err), d.Close())
		}
	}()
	if d.lock, err = openPins(cfg); err != nil {
		return nil, err
	}
	if d.grace, err = newGrace(); err != nil {
		return nil, err
	}
	programs, err := d.load(cfg)
	if err != nil {
		return nil, err
	}
	defer programs.Close() // the pinned links hold them
	if err := attachAll(cfg, programs); err != nil {
		return nil, err
	}
	d.Services = service.Tables{Frontends: frontends(d.maps.Frontends), Slots: slots(d.maps.Slots), Backends: backends(d.maps.Backends)}
	d.Namespaces = namespaces(d.maps.Netns)
	return d, nil
}

// load makes the maps, or opens their pins, and loads the programs that use them.
func (d *Dataplane) load(cfg Config) (p sockPrograms, err error) {
	spec, err := loadSock()
	if err != nil {
		return p, err
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinByName
	}
	var objects sockObjects
	err = spec.LoadAndAssign(&objects, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: cfg.mapPins()}})
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		return p, fmt.Errorf("%w: what is pinned in %s was not made by this version; `mainstay down` removes it", err, cfg.mapPins())
	} else if err != nil {
		return p, fmt.Errorf("load the programs: %w", err)
	}
	d.maps = objects.sockMaps
	return objects.sockPrograms, nil
}

// Close lets go of the dataplane. Calls go on being led as the tables say.
func (d *Dataplane) Close() error {
	err := errors.Join(d.maps.Close(), d.grace.Close())
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// Grace returns when every call that began before it has been led. It takes some milliseconds.
func (d *Dataplane) Grace(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.grace.wait()
}

// grace waits for programs that run. The kernel promises that after a write to a map of maps no program runs that has
// seen the old value: so one write to a map that nobody reads is enough.
type grace struct{ outer, inner *ebpf.Map }

func newGrace() (g grace, err error) {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if g.inner, err = ebpf.NewMap(inner); err == nil {
		g.outer, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner})
	}
	if err != nil {
		return g, fmt.Errorf("make a map (does this process have CAP_BPF and CAP_NET_ADMIN?): %w", err)
	}
	return g, nil
}

func (g grace) wait() error {
	if err := g.outer.Put(uint32(0), g.inner); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}

func (g grace) Close() error { return errors.Join(g.outer.Close(), g.inner.Close()) }
