package podnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// rules are those of the machine, as a script for nft that is carried out as one. What leaves the cluster gets the machine's
// own address; what stays in it is not tracked, save what a host port leads to. Pods are refused at once where nobody is: the
// kernel alone would tell them so, but not more than once a second. The gateway's address is there for pods and the machine
// only, and the machine's loopback for nobody else. Other tables are left alone.
func (c Config) rules(ports []HostPort) string {
	own := ""
	if len(c.Own) > 0 {
		own = "ip daddr GATEWAY th dport { " + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(c.Own), "[]")), ", ") + " } return"
	}
	return strings.NewReplacer("PODS", c.PodRange.String(), "CLUSTER", c.ClusterRange.String(), "SERVICES", c.ServiceRange.String(), "GATEWAY", gatewayOf(c.PodRange).String(), "DEVICES", podPrefix+"*").Replace(`
table ip mainstay
delete table ip mainstay
table ip mainstay {
`+portSets+`
	chain host-ports {
		`+own+`
		dnat ip to ip daddr . meta l4proto . th dport map @ports-at
		ip daddr 127.0.0.0/8 ip daddr != 127.0.0.1 return
		fib daddr type local dnat ip to meta l4proto . th dport map @ports
	}
	chain dnat-in {
		type nat hook prerouting priority -100; policy accept;
		meta l4proto { tcp, udp } jump host-ports
	}
	chain dnat-out {
		type nat hook output priority -100; policy accept;
		meta l4proto { tcp, udp } jump host-ports
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ct status dnat ip saddr 127.0.0.0/8 oifname "DEVICES" snat to GATEWAY
		ct status dnat ip saddr . ip daddr @port-pods snat to GATEWAY
		ip saddr PODS ip daddr != CLUSTER masquerade fully-random
	}
	chain untracked-in {
		type filter hook prerouting priority raw; policy accept;
		iifname "DEVICES" ip daddr 127.0.0.0/8 drop
		ip daddr GATEWAY meta l4proto . th dport @port-asked accept
		ip saddr . meta l4proto . th sport @port-ends accept
		ip daddr . meta l4proto . th dport @port-ends accept
		ip saddr CLUSTER ip daddr CLUSTER notrack
	}
	chain untracked-out {
		type filter hook output priority raw; policy accept;
		ip daddr GATEWAY meta l4proto . th dport @port-asked accept
		ip saddr . meta l4proto . th sport @port-ends accept
		ip daddr . meta l4proto . th dport @port-ends accept
		ip saddr CLUSTER ip daddr CLUSTER notrack
	}
	chain prerouting {
		type filter hook prerouting priority filter; policy accept;
		ip saddr PODS ip daddr != GATEWAY ip daddr { CLUSTER, SERVICES } fib daddr oif missing reject with tcp reset
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ip daddr != GATEWAY accept
		ct state established,related accept
		iifname "lo" accept
		iifname "DEVICES" ip saddr PODS accept
		drop
	}
}
`) + elements(ports)
}

const removeScript = "table ip mainstay\ndelete table ip mainstay\n"

func (c Config) writeRules(ctx context.Context) error {
	ports, err := readHostPorts(ctx)
	if err != nil {
		return err
	}
	if _, err := nft(ctx, c.rules(ports)); err != nil {
		return err
	}
	if c.Log == nil {
		return nil
	}
	if chains, err := nft(ctx, "list chains"); err == nil {
		for _, chain := range dropping(chains) {
			c.Log.Warn("this chain drops what is forwarded, unless it is told otherwise: pods may not reach the outside",
				"chain", chain, "mend", "accept what comes from and goes to "+c.ClusterRange.String()+" there")
		}
	}
	return nil
}

func removeRules(ctx context.Context) error {
	_, err := nft(ctx, removeScript)
	return err
}

// nft carries a script out as one, and returns what it prints.
func nft(ctx context.Context, script string) (string, error) { return runNFT(ctx, script, "-f", "-") }

func runNFT(ctx context.Context, script string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(script), &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("the program nft is missing: install the package nftables")
	} else if err != nil {
		return "", fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// dropping are the chains in nft's list that drop forwarded packets by default.
func dropping(list string) (chains []string) {
	var table, chain string
	for line := range strings.Lines(list) {
		name := strings.TrimSuffix(strings.TrimSpace(line), " {")
		if t, ok := strings.CutPrefix(name, "table "); ok {
			table = t
		}
		if c, ok := strings.CutPrefix(name, "chain "); ok {
			chain = c
		}
		if strings.Contains(line, "hook forward") && strings.Contains(line, "policy drop") {
			chains = append(chains, table+" "+chain)
		}
	}
	return chains
}
