package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Probe tells whether this process may use BPF here: it makes a map, and lets go of it.
func Probe() error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("make a BPF map: %w", err)
	}
	return m.Close()
}
