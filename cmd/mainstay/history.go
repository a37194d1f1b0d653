package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/reconcile/delivery"
	"github.com/mainstay-gitops/mainstay/reconcile/history"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func newHistoryCommand(at *place) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "history [SOURCE]",
		Short: "Show which commits of a source were applied, when, and what came of them",
		Long: `Lists the commits of a GitSource that were applied, the newest first: the last 500, or those of 90 days,
whichever are fewer. SOURCE is [NAMESPACE/]NAME; without it, the source of this folder is meant.

A commit is Progressing while it is rolled out, Healthy when all of it was healthy once, Failed if something of it
was not well when it was last looked at, and Superseded if the next one came before it was healthy.`,
		Example: `  mainstay history
  mainstay history shop
  mainstay history shop -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := sourceArgument(args)
			if err != nil {
				return err
			}
			resp, err := at.ask(cmd.Context(), historyPath, url.Values{"source": {source}})
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			switch output {
			case "json":
				_, err = io.Copy(cmd.OutOrStdout(), resp.Body)
				return err
			case "text":
				return printHistory(cmd.OutOrStdout(), resp.Body, time.Now())
			}
			return fmt.Errorf("-o %s: there are text and json", output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// sourceArgument is the NAMESPACE/NAME that is meant by [[NAMESPACE/]NAME].
func sourceArgument(args []string) (string, error) {
	if len(args) > 0 && strings.Contains(args[0], "/") {
		return args[0], nil
	}
	if len(args) > 0 {
		return lifecycle.SystemNamespace + "/" + args[0], nil
	}
	dir, err := os.Getwd()
	return lifecycle.SystemNamespace + "/" + repositoryName(filepath.Base(dir)), err
}

// printHistory prints a line for each commit.
func printHistory(w io.Writer, body io.Reader, now time.Time) error {
	var all []history.Commit
	if err := json.NewDecoder(body).Decode(&all); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "COMMIT\tAPPLIED\tRESULT\tAFTER\tAUTHOR\tSUBJECT")
	for _, c := range all {
		after := "-"
		if c.Result != history.Progressing {
			after = c.Since.Sub(c.Applied).Round(time.Second).String()
		}
		fmt.Fprintf(t, "%.7s\t%s ago\t%s\t%s\t%s\t%s\n", c.Hash, age(c.Applied, now), c.Result, after, printable(c.Author), printable(c.Subject))
	}
	return t.Flush()
}

// printable leaves out what would steer a terminal: anybody may write a commit's subject.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}

const historyPath = "/-/history"

// historyHandler answers mainstay history. Who may push may ask.
func historyHandler(d *delivery.Delivery) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		namespace, name, _ := strings.Cut(r.FormValue("source"), "/")
		all, err := d.History(namespace, name)
		if err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, store.ErrNotFound) {
				status = http.StatusNotFound
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(all)
	}
}
