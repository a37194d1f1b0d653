package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// trimEvery is how often the daemon looks whether it holds much more memory than it needs.
const trimEvery = 10 * time.Second

// trimMemory gives memory back to the machine after something large. A large apply leaves several times the memory that lives
// on, and the runtime by itself keeps most of it for minutes if nothing else happens.
func trimMemory(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if wasteful(readMemory()) {
				debug.FreeOSMemory()
			}
		}
	}
}

// memory is in bytes.
type memory struct {
	live uint64 // found reachable by the last collection
	held uint64 // of the heap: objects, dead or alive, and free room that the machine does not have back
}

// wasteful tells whether a collection is worth its time: a quarter of what lives is to be had, and not just a little.
func wasteful(m memory) bool { return m.held > m.live+m.live/4+16<<20 }

func readMemory() memory {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(s)
	return memory{live: s[0].Value.Uint64(), held: s[1].Value.Uint64() + s[2].Value.Uint64() + s[3].Value.Uint64()}
}
