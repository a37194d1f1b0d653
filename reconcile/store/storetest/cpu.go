package storetest

import (
	"syscall"
	"time"
)

// CPU is the time that this process has had of all processors.
func CPU() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
