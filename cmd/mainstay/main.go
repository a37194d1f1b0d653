// Mainstay is a GitOps reconciliation daemon that is also the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	if code, ok := errors.AsType[exitCode](err); ok {
		os.Exit(int(code))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mainstay:", err)
		os.Exit(1)
	}
}

// exitCode ends the process with that code; what is wrong has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func newCommand() *cobra.Command {
	var at place
	c := &cobra.Command{
		Use:   "mainstay",
		Short: "git push of Kubernetes manifests becomes running containers behind load-balanced services",
		Long: `Mainstay is a GitOps daemon that is also the cluster: it keeps what Git says in an embedded
store, schedules it, runs it on containerd, and load-balances its services in eBPF.`,
		Example: `  mainstay check                # what does this machine lack?
  mainstay up                   # start; ^C leaves the pods running
  mainstay remote add           # in a Git repository with manifests: where to push to
  git push mainstay main        # apply it, and watch its rollout
  mainstay status               # what is healthy, and what is not, and why`,
		SilenceUsage:     true,
		SilenceErrors:    true,
		TraverseChildren: true, // --data comes before kubectl, which has flags of its own
	}
	c.PersistentFlags().StringVar(&at.data, "data", defaultData(), "folder that holds everything (environment: MAINSTAY_DATA)")
	c.AddCommand(
		newUpCommand(&at), newDownCommand(&at), newCheckCommand(&at),
		newRemoteCommand(&at),
		newPlanCommand(&at), newStatusCommand(&at), newHistoryCommand(&at), newWhyCommand(&at),
		newBackupCommand(&at), newRestoreCommand(&at), newStoreCommand(&at), newSecretsCommand(&at),
		newKubectlCommand(&at), newImageCommand(&at), newVersionCommand(), newKeeperCommand(),
	)
	return c
}

func defaultData() string {
	if dir := os.Getenv("MAINSTAY_DATA"); dir != "" {
		return dir
	}
	return "/var/lib/mainstay"
}

// version is set when a release is built.
var version = "v0.1.0-dev"

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "mainstay", version)
		},
	}
}

// needRoot says who may run a command that changes the machine.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root: sudo %s", what, filepath.Base(os.Args[0])+" "+what)
	}
	return nil
}
