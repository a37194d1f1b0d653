package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
)

func newImageCommand(at *place) *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "Look after the images on this node"}
	c.AddCommand(&cobra.Command{
		Use:     "load FILE...",
		Short:   "Import images from OCI or Docker archives",
		Example: "  mainstay image load hello.tar",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("image load"); err != nil {
				return err
			}
			e, err := at.endpoints()
			if err != nil {
				return err
			}
			o := &upOptions{place: *at, node: e.Node, containerd: e.Containerd}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Minute)
			defer cancel()
			client, err := containerd.Connect(ctx, o.socket(), o.namespace())
			if err != nil {
				return fmt.Errorf("%w: is Mainstay up?", err)
			}
			defer client.Close()
			for _, name := range args {
				if err := loadImage(ctx, cmd, containerd.NewImages(client), name); err != nil {
					return err
				}
			}
			return nil
		},
	})
	return c
}

func loadImage(ctx context.Context, cmd *cobra.Command, images *containerd.Images, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	loaded, err := images.Import(ctx, f)
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	for _, i := range loaded {
		fmt.Fprintln(cmd.OutOrStdout(), "loaded", i.Ref)
	}
	return nil
}
