package podnet

import (
	"fmt"
	"net/netip"
)

// addresses hands out the addresses of a range. What is given back is used again as late as can be, the oldest first, since
// others may still hold on to it.
type addresses struct {
	pods  netip.Prefix
	next  netip.Addr // nothing from here on was handed out yet
	freed []netip.Addr
	used  map[netip.Addr]bool
}

// newAddresses manages pods, of which used is in use. The first address is the gateway's, and the last one is left alone.
func newAddresses(pods netip.Prefix, used []netip.Addr) *addresses {
	a := &addresses{pods: pods, next: gatewayOf(pods).Next(), used: map[netip.Addr]bool{}}
	for _, u := range used {
		a.used[u] = true
		if !u.Less(a.next) {
			a.next = u.Next()
		}
	}
	for free := gatewayOf(pods).Next(); free.Less(a.next); free = free.Next() {
		if !a.used[free] {
			a.freed = append(a.freed, free)
		}
	}
	return a
}

// gatewayOf is the first address of a range that a host may have.
func gatewayOf(pods netip.Prefix) netip.Addr { return pods.Masked().Addr().Next() }

// take hands out an address.
func (a *addresses) take() (netip.Addr, error) {
	if a.pods.Contains(a.next) && a.pods.Contains(a.next.Next()) {
		taken := a.next
		a.next = taken.Next()
		a.used[taken] = true
		return taken, nil
	}
	if len(a.freed) == 0 {
		return netip.Addr{}, fmt.Errorf("all %d addresses of %s are in use", len(a.used), a.pods)
	}
	taken := a.freed[0]
	a.freed = a.freed[1:]
	a.used[taken] = true
	return taken, nil
}

// give takes an address back.
func (a *addresses) give(addr netip.Addr) {
	if a.used[addr] {
		delete(a.used, addr)
		a.freed = append(a.freed, addr)
	}
}
