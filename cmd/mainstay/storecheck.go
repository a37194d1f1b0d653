package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store/disk"
	"github.com/mainstay-gitops/mainstay/reconcile/store/seal"
)

func newStoreCommand(at *place) *cobra.Command {
	c := &cobra.Command{Use: "store", Short: "Look after what is stored"}
	var output, scratch string
	check := &cobra.Command{
		Use:   "check",
		Short: "Verify the store, and say what is in it, and what is missing; Mainstay must not be up",
		Long: `Reads everything that is stored, and compares it with its checksums and with the list of what should be there.
It looks at a copy, and changes nothing. The exit code is 1 if something is wrong.`,
		Example: `  mainstay store check
  mainstay store check -o json --scratch /mnt/other-disk`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("-o %q: want text or json", output)
			}
			if scratch == "" {
				scratch = at.data
			}
			codec, err := at.codec(scheme.New(scheme.Options{}), seal.Look)
			if err != nil {
				return err
			}
			r, err := disk.Verify(cmd.Context(), at.under("store"), scratch, codec)
			switch {
			case errors.Is(err, disk.ErrInUse):
				return fmt.Errorf("%w: Mainstay checks its store by itself each hour while it is up; to check it now, end it first", err)
			case errors.Is(err, os.ErrNotExist):
				return fmt.Errorf("nothing is stored in %s: name the data folder with --data", at.data)
			case err != nil:
				return err
			}
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				printReport(cmd.OutOrStdout(), *at, r)
			}
			if err == nil && r.Damage != nil {
				return exitCode(1)
			}
			return err
		},
	}
	check.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	check.Flags().StringVar(&scratch, "scratch", "", "folder for the copy (default: the data folder)")
	c.AddCommand(check)
	return c
}

func printReport(w io.Writer, at place, r *disk.Report) {
	if r.Damage == nil {
		fmt.Fprintln(w, "the store is well")
	} else {
		fmt.Fprintln(w, "the store is DAMAGED")
	}
	fmt.Fprintf(w, "  format     %d\n  revision   %d\n  size       %.1f MB\n  objects    %d\n", r.Format, r.Revision, float64(r.Bytes)/1e6, r.Objects)
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		fmt.Fprintf(w, "    %-28s %d\n", kind, r.Kinds[kind])
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "  note       %s\n", note)
	}
	if r.Damage == nil {
		return
	}
	fmt.Fprintln(w, "what is wrong:")
	for _, line := range r.Found {
		fmt.Fprintln(w, "  "+line)
	}
	if r.Beyond != "" {
		fmt.Fprintf(w, "mainstay up --accept-loss does not help: %s\n", r.Beyond)
	} else {
		fmt.Fprintf(w, "mainstay up --accept-loss goes on without %d objects:\n", len(r.Lost))
		for _, line := range r.Lost {
			fmt.Fprintln(w, "  "+line)
		}
		if r.Partial {
			fmt.Fprintln(w, "  and perhaps more: the list of what should be there is damaged too")
		}
	}
	if newest, _ := at.newestSnapshot(); newest != "" {
		fmt.Fprintln(w, "the newest snapshot: mainstay restore --replace", newest)
	}
}
