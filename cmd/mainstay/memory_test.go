package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestMemoryThatIsNotNeededIsSeenAndGivenBack(t *testing.T) {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what the first one found dead is given back by the second
	if m := readMemory(); wasteful(m) {
		t.Errorf("wasteful after it was given back: %+v", m)
	}
	b := make([]byte, 256<<20)
	for i := range b {
		b[i] = 1
	}
	runtime.KeepAlive(b)
	b = nil
	runtime.GC()
	if m := readMemory(); !wasteful(m) {
		t.Errorf("256 MiB that nobody needs are not seen: %+v", m)
	}
	debug.FreeOSMemory()
	if m := readMemory(); wasteful(m) {
		t.Errorf("still wasteful: %+v", m)
	}
}
