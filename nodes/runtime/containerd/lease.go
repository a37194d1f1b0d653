package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/containerd/containerd/leases"
	"golang.org/x/sys/unix"
)

// processLabel has the id of the process that a lease is for.
const processLabel = "mainstay.dev/process"

// ownLease keeps containerd's garbage collector from what this process brings and unpacks, until release. Such leases of
// processes that were killed are given up first, and what they kept.
func (s *Images) ownLease(ctx context.Context) (_ context.Context, release func(), err error) {
	if err := s.dropDeadLeases(ctx); err != nil {
		return nil, nil, err
	}
	pid := strconv.Itoa(os.Getpid())
	service := s.client.LeasesService()
	l, err := service.Create(ctx, leases.WithID(fmt.Sprintf("mainstay-process-%s-%d", pid, time.Now().UnixNano())),
		leases.WithExpiration(leaseHolds), leases.WithLabels(map[string]string{processLabel: pid}))
	if err != nil {
		return nil, nil, fmt.Errorf("keep what is loaded: %w", err)
	}
	return leases.WithLease(ctx, l.ID), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = service.Delete(ctx, l, leases.SynchronousDelete) // it expires by itself
	}, nil
}

// dropDeadLeases gives up the leases of processes that are gone.
func (s *Images) dropDeadLeases(ctx context.Context) error {
	service := s.client.LeasesService()
	all, err := service.List(ctx, fmt.Sprintf("labels.%q", processLabel))
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, l := range all {
		pid, err := strconv.Atoi(l.Labels[processLabel])
		if err == nil && !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		if err := service.Delete(ctx, l, leases.SynchronousDelete); ignoreNotFound(err) != nil {
			return fmt.Errorf("give up the lease of a process that is gone: %w", err)
		}
	}
	return nil
}
