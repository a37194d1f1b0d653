package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// newCredentialCommand is what Git asks for the token of a push: see git-credential(1).
func newCredentialCommand(at *place) *cobra.Command {
	return &cobra.Command{
		Use:    "credential get|store|erase",
		Short:  "Answer Git when it asks for the token of the push server",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "get" {
				return nil
			}
			token, err := os.ReadFile(at.token())
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("the token in %s is root's: push as root, or give the file to a group", at.token())
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "username=mainstay\npassword=%s\n", strings.TrimSpace(string(token)))
			return nil
		},
	}
}
