package podnet

import (
	"errors"
	"fmt"
	"net/netip"
)

// A use is an address or a route that a range must not overlap.
type use struct {
	what   string // such as "route" or "address"
	prefix netip.Prefix
	device string // empty if it has none
}

func (u use) String() string {
	if u.device == "" {
		return u.what + " " + u.prefix.String()
	}
	return u.what + " " + u.prefix.String() + " of " + u.device
}

// check returns all that is wrong with the ranges: by themselves, and with what the machine uses already.
func (c Config) check(uses []use) error {
	ranges := []use{{what: "pod range", prefix: c.ClusterRange}, {what: "service range", prefix: c.ServiceRange}}
	var errs []error
	for _, r := range append(ranges, use{what: "node's pod range", prefix: c.PodRange}) {
		if !r.prefix.IsValid() || !r.prefix.Addr().Is4() {
			errs = append(errs, fmt.Errorf("%s: it is not a range of IPv4 addresses", r))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if c.PodRange.Bits() > 30 {
		errs = append(errs, fmt.Errorf("the node's pod range %s has no room for pods", c.PodRange))
	}
	if c.PodRange.Bits() < c.ClusterRange.Bits() || !c.ClusterRange.Overlaps(c.PodRange) {
		errs = append(errs, fmt.Errorf("the node's pod range %s is no part of the pod range %s", c.PodRange, c.ClusterRange))
	}
	if c.ClusterRange.Overlaps(c.ServiceRange) {
		errs = append(errs, fmt.Errorf("the pod range %s and the service range %s overlap", c.ClusterRange, c.ServiceRange))
	}
	for _, r := range ranges {
		for _, u := range uses {
			if r.prefix.Overlaps(u.prefix) && u.prefix.Bits() > 1 { // a shorter one is a default route, or half of one
				errs = append(errs, fmt.Errorf("the %s overlaps the %s: choose another range for the cluster, or remove it", r, u))
			}
		}
	}
	return errors.Join(errs...)
}
