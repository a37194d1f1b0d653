package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/podnet"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/dataplane/target"
)

// A table is a map of the kernel, whose keys and values are RK and RV there, as a target.
type table[K target.Key[K], V comparable, RK, RV any] struct {
	m     *ebpf.Map
	key   layout[K, RK]
	value layout[V, RV]
}

// A layout is how the kernel keeps a T.
type layout[T, R any] struct {
	encode func(T) R
	decode func(R) T
}

// Put implements target.Target.
func (t table[K, V, RK, RV]) Put(ctx context.Context, k K, v V) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	rk, rv := t.key.encode(k), t.value.encode(v)
	err := t.m.Update(&rk, &rv, ebpf.UpdateAny)
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("the table holds %d rows and has no room for more: %w", t.m.MaxEntries(), err)
	}
	return err
}

// Delete implements target.Target.
func (t table[K, V, RK, RV]) Delete(ctx context.Context, k K) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	rk := t.key.encode(k)
	if err := t.m.Delete(&rk); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

// All implements target.Target. The kernel hands out whole buckets of its hash, so that rows that stay are seen once
// whatever happens to the others.
func (t table[K, V, RK, RV]) All(ctx context.Context) (rows []target.Entry[K, V], err error) {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]RK, batch), make([]RV, batch)
	for {
		n, err := t.m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil, err
		}
		for i := range n {
			rows = append(rows, target.Entry[K, V]{Key: t.key.decode(keys[i]), Value: t.value.decode(values[i])})
		}
		if err != nil {
			return rows, ctx.Err()
		}
	}
}

// batch is how many rows are read in one call. No bucket holds as many.
const batch = 1024

func frontends(m *ebpf.Map) target.Target[service.Frontend, service.Set] {
	return table[service.Frontend, service.Set, sockFrontend, sockSet]{m,
		layout[service.Frontend, sockFrontend]{
			func(f service.Frontend) sockFrontend {
				return sockFrontend{Addr: encodeAddr(f.Addr()), Port: f.Port(), Proto: uint8(f.Protocol)}
			},
			func(r sockFrontend) service.Frontend {
				return service.Frontend{AddrPort: netip.AddrPortFrom(decodeAddr(r.Addr), r.Port), Protocol: service.Protocol(r.Proto)}
			},
		},
		layout[service.Set, sockSet]{
			func(s service.Set) sockSet { return sockSet{Id: uint64(s.ID), Count: s.Count} },
			func(r sockSet) service.Set { return service.Set{ID: service.ID(r.Id), Count: r.Count} },
		},
	}
}

func slots(m *ebpf.Map) target.Target[service.Slot, service.ID] {
	return table[service.Slot, service.ID, sockSlot, uint64]{m,
		layout[service.Slot, sockSlot]{
			func(s service.Slot) sockSlot { return sockSlot{Set: uint64(s.Set), Index: s.Index} },
			func(r sockSlot) service.Slot { return service.Slot{Set: service.ID(r.Set), Index: r.Index} },
		},
		number[service.ID](),
	}
}

func backends(m *ebpf.Map) target.Target[service.ID, service.Backend] {
	return table[service.ID, service.Backend, uint64, sockBackend]{m,
		number[service.ID](),
		layout[service.Backend, sockBackend]{
			func(b service.Backend) sockBackend {
				r := sockBackend{Addr: encodeAddr(b.Addr()), Port: b.Port()}
				if b.Terminating {
					r.Terminating = 1
				}
				return r
			},
			func(r sockBackend) service.Backend {
				return service.Backend{AddrPort: netip.AddrPortFrom(decodeAddr(r.Addr), r.Port), Terminating: r.Terminating != 0}
			},
		},
	}
}

func namespaces(m *ebpf.Map) target.Target[podnet.Cookie, netip.Addr] {
	return table[podnet.Cookie, netip.Addr, uint64, sockAddr]{m,
		number[podnet.Cookie](), layout[netip.Addr, sockAddr]{encodeAddr, decodeAddr}}
}

func number[T ~uint64]() layout[T, uint64] {
	return layout[T, uint64]{func(n T) uint64 { return uint64(n) }, func(n uint64) T { return T(n) }}
}

// encodeAddr is an address as 16 bytes, that of IPv4 mapped into IPv6.
func encodeAddr(a netip.Addr) (r sockAddr) {
	b := a.As16()
	for i := range r.Word {
		r.Word[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return r
}

func decodeAddr(r sockAddr) netip.Addr {
	var b [16]byte
	for i, w := range r.Word {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b).Unmap()
}
