package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/access"
)

const kubeconfigEach = 24 * time.Hour // far less than what is left of a certificate when it counts as old

// keepKubeconfig writes the administrator's kubeconfig anew when its certificate gets old, until ctx ends.
func keepKubeconfig(ctx context.Context, a *access.Authority, path, server string, log *slog.Logger) error {
	ticker := time.NewTicker(kubeconfigEach)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := a.Kubeconfig(path, server, now); err != nil {
				log.Error("the kubeconfig cannot be renewed", "err", err)
			}
		}
	}
}
