package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/dataplane/dns/server"
	"github.com/mainstay-gitops/mainstay/nodes/keeper"
)

// newKeeperCommand is the small process that outlives the daemon: see nodes/keeper.
func newKeeperCommand() *cobra.Command {
	var run, zone, resolv, addr string
	c := &cobra.Command{
		Use:    "keeper",
		Short:  "Keep containers' output and answer DNS while the daemon is away (mainstay up starts it)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			s := &keeper.Server{Socket: keeper.Socket(run), Version: buildID(), Log: log, Work: func(ctx context.Context, files []*os.File) error {
				return answer(ctx, files, zone, resolv, log)
			}}
			return s.Run(cmd.Context())
		},
	}
	c.Flags().StringVar(&run, "run", "", "folder of the node's sockets")
	c.Flags().StringVar(&zone, "zone", "", "file with the records of the cluster")
	c.Flags().StringVar(&resolv, "resolv", "/etc/resolv.conf", "who answers for the rest of the world")
	c.Flags().StringVar(&addr, "dns", "", "address that DNS is answered at (for people who look at processes)")
	return c
}

// answer serves DNS on the sockets that the daemon opened.
func answer(ctx context.Context, files []*os.File, zone, resolv string, log *slog.Logger) error {
	cfg := server.Config{File: zone, Resolv: resolv, Log: log}
	for _, f := range files {
		if c, err := net.FilePacketConn(f); err == nil {
			cfg.UDP = append(cfg.UDP, c)
			continue
		}
		l, err := net.FileListener(f)
		if err != nil {
			return fmt.Errorf("take over a socket: %w", err)
		}
		cfg.TCP = append(cfg.TCP, l)
	}
	return server.Run(ctx, cfg)
}
