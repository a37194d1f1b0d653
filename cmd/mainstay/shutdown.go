package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/agent"
)

const shutdownPath = "/-/shutdown"

// shutdownHandler ends the pods of this node, and answers with a line for each step.
func shutdownHandler(a *agent.Agent) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		grace, err := time.ParseDuration(r.FormValue("grace"))
		critical, cerr := time.ParseDuration(r.FormValue("critical"))
		if err != nil || cerr != nil || r.Method != http.MethodPost {
			http.Error(w, "want a POST with grace and critical", http.StatusBadRequest)
			return
		}
		out := http.NewResponseController(w)
		a.Shutdown(r.Context(), grace, critical, func(line string) {
			fmt.Fprintln(w, line)
			_ = out.Flush() // who does not read does not hear
		})
	}
}

// restPods asks the daemon, if one runs, to end its pods, and shows how that goes.
func restPods(ctx context.Context, at place, grace, critical time.Duration, out io.Writer) error {
	e, ok := at.running()
	if !ok || grace <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grace+30*time.Second)
	defer cancel()
	token, err := os.ReadFile(at.token())
	if err != nil {
		return err
	}
	q := url.Values{"grace": {grace.String()}, "critical": {critical.String()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Git+shutdownPath+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth("mainstay", strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(out, resp.Body)
	return err
}
