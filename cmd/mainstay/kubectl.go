package main

import (
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
)

// newKubectlCommand is the whole of kubectl, with the kubeconfig of this Mainstay.
func newKubectlCommand(at *place) *cobra.Command {
	c := &cobra.Command{
		Use:                "kubectl",
		Short:              "kubectl, connected with this Mainstay",
		Example:            "  mainstay kubectl get pods -A -o wide",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if os.Getenv("KUBECONFIG") == "" {
				if err := os.Setenv("KUBECONFIG", at.kubeconfig()); err != nil {
					return err
				}
			}
			k := cmd.NewKubectlCommand(cmd.KubectlOptions{
				PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
				Arguments:     append([]string{"kubectl"}, args...),
				ConfigFlags:   genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50),
				IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
			})
			k.SetArgs(args)
			return k.Execute()
		},
	}
	return c
}
