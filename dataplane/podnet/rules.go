package podnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// rules are those of the machine, as a script for nft that is carried out as one. What leaves the cluster gets the machine's
// own address; what stays in it is not tracked. Pods are refused at once where nobody is: the kernel alone would tell them so, but not more than once a
// second. The gateway's address is there for pods and the machine only. Other tables are left alone.
func (c Config) rules() string {
	return strings.NewReplacer("PODS", c.PodRange.String(), "CLUSTER", c.ClusterRange.String(), "SERVICES", c.ServiceRange.String(), "GATEWAY", gatewayOf(c.PodRange).String(), "DEVICES", podPrefix+"*").Replace(`
table ip mainstay
delete table ip mainstay
table ip mainstay {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr PODS ip daddr != CLUSTER masquerade fully-random
	}
	chain untracked-in {
		type filter hook prerouting priority raw; policy accept;
		ip saddr CLUSTER ip daddr CLUSTER notrack
	}
	chain untracked-out {
		type filter hook output priority raw; policy accept;
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
`)
}

const removeScript = "table ip mainstay\ndelete table ip mainstay\n"

func (c Config) writeRules(ctx context.Context) error {
	if _, err := nft(ctx, c.rules()); err != nil {
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

func nft(ctx context.Context, script string) (string, error) {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
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
