package podnet

import "cmp"

// A Cookie is the number by which the kernel knows a network namespace. It is never used again before the machine restarts.
type Cookie uint64

// Compare orders cookies by the age of their namespaces.
func (c Cookie) Compare(o Cookie) int { return cmp.Compare(c, o) }
