package podnet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func take(t *testing.T, a *addresses) netip.Addr {
	t.Helper()
	addr, err := a.take()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestAddressesAreUsedAgainLateTheOldestFirst(t *testing.T) {
	a := newAddresses(netip.MustParsePrefix("10.244.0.0/29"), nil) // .1 is the gateway's, .7 is left alone
	var order []string
	for range 3 {
		order = append(order, take(t, a).String())
	}
	a.give(netip.MustParseAddr("10.244.0.3"))
	a.give(netip.MustParseAddr("10.244.0.2"))
	a.give(netip.MustParseAddr("10.244.0.2")) // twice is once
	for range 4 {
		order = append(order, take(t, a).String())
	}
	want := "10.244.0.2 10.244.0.3 10.244.0.4 10.244.0.5 10.244.0.6 10.244.0.3 10.244.0.2"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := a.take(); err == nil || !strings.Contains(err.Error(), "all 5 addresses of 10.244.0.0/29 are in use") {
		t.Errorf("%v: want to hear that all are in use", err)
	}
}

func TestAddressesGoOnAfterARestart(t *testing.T) {
	used := []netip.Addr{netip.MustParseAddr("10.244.0.4"), netip.MustParseAddr("10.244.0.2")}
	a := newAddresses(netip.MustParsePrefix("10.244.0.0/29"), used)
	var order []string
	for range 3 {
		order = append(order, take(t, a).String())
	}
	if got, want := strings.Join(order, " "), "10.244.0.5 10.244.0.6 10.244.0.3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNoAddressIsHandedOutTwice(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	pods := netip.MustParsePrefix("10.244.0.0/27")
	a := newAddresses(pods, nil)
	var held []netip.Addr
	for range 5000 {
		switch n := rng.IntN(100); {
		case n < 50 && len(held) < 29:
			addr := take(t, a)
			if slices.Contains(held, addr) || !pods.Contains(addr) || addr == gatewayOf(pods) {
				t.Fatalf("%s was handed out while %v are held", addr, held)
			}
			held = append(held, addr)
		case n == 99:
			a = newAddresses(pods, held)
		case len(held) > 0:
			i := rng.IntN(len(held))
			a.give(held[i])
			held = slices.Delete(held, i, i+1)
		}
	}
}

func TestChainsThatDropWhatIsForwardedAreNamed(t *testing.T) {
	const list = `table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
	chain INPUT {
		type filter hook input priority filter; policy drop;
	}
}
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
	}
}
`
	if got, want := dropping(list), []string{"ip filter FORWARD"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
