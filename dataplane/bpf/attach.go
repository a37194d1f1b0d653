package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
)

// A hook is one place in the kernel, and our program for it.
type hook struct {
	name    string // of the pin
	at      ebpf.AttachType
	program *ebpf.Program
}

// hooks are in the order in which they are attached: what shows the address that was asked for comes before what leads to
// another one.
func hooks(p sockPrograms) []hook {
	return []hook{
		{"getpeername4", ebpf.AttachCgroupInet4GetPeername, p.MsGetpeername4},
		{"getpeername6", ebpf.AttachCgroupInet6GetPeername, p.MsGetpeername6},
		{"recvmsg4", ebpf.AttachCGroupUDP4Recvmsg, p.MsRecvmsg4},
		{"recvmsg6", ebpf.AttachCGroupUDP6Recvmsg, p.MsRecvmsg6},
		{"connect4", ebpf.AttachCGroupInet4Connect, p.MsConnect4},
		{"connect6", ebpf.AttachCGroupInet6Connect, p.MsConnect6},
		{"sendmsg4", ebpf.AttachCGroupUDP4Sendmsg, p.MsSendmsg4},
		{"sendmsg6", ebpf.AttachCGroupUDP6Sendmsg, p.MsSendmsg6},
	}
}

// attachAll makes each program the only one of this node at its hook.
func attachAll(cfg Config, p sockPrograms) error {
	cgroup, err := os.Open(cfg.Cgroup)
	if err != nil {
		return fmt.Errorf("open the node's cgroup: %w", err)
	}
	defer cgroup.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(cgroup.Fd()), &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: cfg.Cgroup, Err: err}
	}
	here, err := podnet.CookieHere()
	if err != nil {
		return err
	}
	for _, h := range hooks(p) {
		if err := attach(h, cfg.Cgroup, stat.Ino, filepath.Join(cfg.linkPins(), h.name)); err != nil {
			return fmt.Errorf("attach %s to %s: %w", h.name, cfg.Cgroup, err)
		}
	}
	if err := alone(hooks(p), cgroup, stat.Ino, here); err != nil {
		return fmt.Errorf("look who else is attached to %s: %w", cfg.Cgroup, err)
	}
	return nil
}

// attach puts the program behind the link that is pinned, or makes a link if there is none, or if it ended with its cgroup,
// or if it belongs to another cgroup.
func attach(h hook, cgroup string, cgroupID uint64, pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		defer l.Close()
		if id, err := cgroupOf(l); err == nil && id == cgroupID {
			if err := l.Update(h.program); !errors.Is(err, unix.ENOLINK) {
				return err
			}
		}
		if err := detach(pin); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err = link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: h.at, Program: h.program})
	if err != nil {
		return fmt.Errorf("%w (is it a cgroup of version 2, and does this process have CAP_BPF and CAP_NET_ADMIN?)", err)
	}
	return errors.Join(l.Pin(pin), l.Close())
}

func cgroupOf(l link.Link) (uint64, error) {
	info, err := l.Info()
	if err != nil {
		return 0, err
	}
	c := info.Cgroup()
	if c == nil {
		return 0, errors.New("it is no cgroup link")
	}
	return c.CgroupId, nil
}

// alone detaches other programs from the cgroup that lead the sockets of this node, which is the one in the network namespace
// here: a link whose pin was lost with its mount would go on leading calls by tables that nobody writes. Those of other
// nodes on the same kernel stay.
func alone(hooks []hook, cgroup *os.File, cgroupID uint64, here podnet.Cookie) error {
	var others []attached
	stale := map[ebpf.MapID]bool{} // not all programs have the map that tells whose they are, but each shares one with those
	for _, h := range hooks {
		found, err := strangers(h, cgroup)
		if err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
		for _, o := range found {
			leads, err := o.leads(here)
			if err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
			if leads {
				for _, m := range o.maps {
					stale[m] = true
				}
			}
		}
		others = append(others, found...)
	}
	for _, o := range others { // those that tell come last
		if slices.ContainsFunc(o.maps, func(m ebpf.MapID) bool { return stale[m] }) {
			if err := detachProgram(o.program, cgroupID); err != nil {
				return err
			}
		}
	}
	return nil
}

// attached is a program at a hook.
type attached struct {
	program ebpf.ProgramID
	maps    []ebpf.MapID
}

// strangers are the other programs at a hook that have the name of ours.
func strangers(h hook, cgroup *os.File) (found []attached, err error) {
	ours, err := h.program.Info()
	if err != nil {
		return nil, err
	}
	id, _ := ours.ID()
	all, err := link.QueryPrograms(link.QueryOptions{Target: int(cgroup.Fd()), Attach: h.at})
	if err != nil {
		return nil, err
	}
	seen := 0
	for _, p := range all.Programs {
		if p.ID == id {
			seen++
			continue
		}
		info, err := infoOf(p.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if info.Name == ours.Name {
			maps, _ := info.MapIDs()
			found = append(found, attached{p.ID, maps})
		}
	}
	if seen != 1 {
		return nil, fmt.Errorf("our program is attached %d times, not once", seen)
	}
	return found, nil
}

func infoOf(id ebpf.ProgramID) (*ebpf.ProgramInfo, error) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Info()
}

// leads tells whether the program leads the sockets of a network namespace.
func (a attached) leads(ns podnet.Cookie) (bool, error) {
	for _, id := range a.maps {
		if has, err := listed(id, ns); has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// listed tells whether a map is one of network namespaces, and has that one.
func listed(id ebpf.MapID, ns podnet.Cookie) (bool, error) {
	m, err := ebpf.NewMapFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil || info.Name != "netns" {
		return false, err
	}
	value, err := m.LookupBytes(uint64(ns))
	return value != nil, err
}

// detachProgram ends the links by which a program is attached to a cgroup.
func detachProgram(id ebpf.ProgramID, cgroupID uint64) error {
	var links link.Iterator
	defer links.Close()
	for links.Next() {
		info, err := links.Link.Info()
		if err != nil || info.Program != id {
			continue
		}
		if c, err := cgroupOf(links.Link); err != nil || c != cgroupID {
			continue
		}
		if err := links.Link.Detach(); err != nil {
			return fmt.Errorf("detach program %d of an earlier Mainstay: %w", id, err)
		}
	}
	return links.Err()
}
