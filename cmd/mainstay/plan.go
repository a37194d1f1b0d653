package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/delivery"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
)

func newPlanCommand(at *place) *cobra.Command {
	var source, output string
	c := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "Show what a push of a folder would change; nothing is touched",
		Long: `Reads the manifests in DIR as they are on disk, committed or not, and shows what applying them would
change. The exit code is 0 if nothing would change, 2 if something would, and 1 if it cannot be applied.`,
		Example: `  mainstay plan
  mainstay plan ./shop --source shop
  mainstay plan -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			if source == "" {
				source = repositoryName(filepath.Base(abs))
			}
			if !strings.Contains(source, "/") {
				source = lifecycle.SystemNamespace + "/" + source
			}
			return showPlan(cmd, *at, source, abs, output)
		},
	}
	c.Flags().StringVar(&source, "source", "", "[NAMESPACE/]NAME of the GitSource (default: that of the folder)")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func showPlan(cmd *cobra.Command, at place, source, dir, output string) error {
	resp, err := at.ask(cmd.Context(), planPath, url.Values{"source": {source}, "dir": {dir}, "output": {output}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(cmd.OutOrStdout(), resp.Body); err != nil {
		return err
	}
	if resp.Header.Get(changesHeader) == "true" {
		return exitCode(2)
	}
	return nil
}

// ask asks the daemon, as one who may push.
func (p place) ask(ctx context.Context, path string, q url.Values) (*http.Response, error) {
	e, err := p.endpoints()
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(p.token())
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.Git+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("mainstay", strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(body)))
	}
	return resp, nil
}

const (
	planPath      = "/-/plan"
	changesHeader = "Mainstay-Changes"
)

// planHandler answers mainstay plan. Who may push may ask.
func planHandler(d *delivery.Delivery) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		namespace, name, _ := strings.Cut(r.FormValue("source"), "/")
		plan, err := d.PlanFolder(r.Context(), namespace, name, r.FormValue("dir"))
		if err != nil {
			status := http.StatusInternalServerError
			if apply.IsRefusal(err) {
				status = http.StatusUnprocessableEntity
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set(changesHeader, fmt.Sprint(!plan.Empty()))
		if r.FormValue("output") == "json" {
			w.Header().Set("Content-Type", "application/json")
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			_ = e.Encode(plan.Report())
			return
		}
		plan.Print(w)
	}
}
