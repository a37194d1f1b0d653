package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/delivery"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func newStatusCommand(at *place) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the sources, their commits, what is healthy and what is not, and why",
		Example: `  mainstay status
  mainstay status -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := connect(*at)
			if err != nil {
				return err
			}
			s, err := cl.delivered(cmd.Context())
			if err != nil {
				return err
			}
			all := readStatus(s)
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(all)
			}
			printStatus(cmd.OutOrStdout(), all)
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// sourceStatus is one source, for people and programs.
type sourceStatus struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	URL       string         `json:"url"`
	Fetched   string         `json:"fetched,omitempty"`
	Applied   string         `json:"applied,omitempty"`
	Healthy   string         `json:"healthy,omitempty"`
	Subject   string         `json:"subject,omitempty"`
	Objects   int32          `json:"objects"`
	Ready     string         `json:"ready"`
	Message   string         `json:"message"`
	Unwell    []unwellObject `json:"unwell,omitempty"`
}

type unwellObject struct {
	Object string `json:"object"`
	State  string `json:"state"`
	Detail string `json:"detail"`
}

func readStatus(s *store.Snapshot) []sourceStatus {
	all := []sourceStatus{}
	for g := range store.List[*v1alpha1.GitSource](s) {
		st := sourceStatus{
			Namespace: g.Namespace, Name: g.Name, URL: g.Spec.URL, Objects: g.Status.Objects, Ready: "Unknown",
			Fetched: hashOf(g.Status.Fetched), Applied: hashOf(g.Status.Applied), Healthy: hashOf(g.Status.Healthy),
		}
		if g.Status.Applied != nil {
			st.Subject = g.Status.Applied.Subject
		}
		if c := meta.FindStatusCondition(g.Status.Conditions, "Ready"); c != nil {
			st.Ready, st.Message = readyWord(c), c.Message
		}
		for _, a := range delivery.Unwell(s, g) {
			st.Unwell = append(st.Unwell, unwellObject{a.Key.String(), string(a.Status.State), a.Status.String()})
		}
		all = append(all, st)
	}
	return all
}

// readyWord is one word for how a source is: the reason says more than Unknown and False.
func readyWord(c *metav1.Condition) string { return c.Reason }

func hashOf(c *v1alpha1.GitCommit) string {
	if c == nil {
		return ""
	}
	return c.Hash
}

func printStatus(w io.Writer, all []sourceStatus) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no sources yet: mainstay remote add in a Git repository makes one")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tURL\tFETCHED\tAPPLIED\tHEALTHY\tOBJECTS\tSTATUS")
	for _, s := range all {
		fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Namespace, s.Name, s.URL, shortHash(s.Fetched), shortHash(s.Applied), shortHash(s.Healthy), s.Objects, s.Ready)
	}
	t.Flush()
	for _, s := range all {
		if len(s.Unwell) == 0 && s.Ready == "Healthy" {
			continue
		}
		fmt.Fprintf(w, "\n%s/%s: %s\n", s.Namespace, s.Name, strings.ReplaceAll(s.Message, "\n", "\n  "))
		for _, u := range s.Unwell {
			fmt.Fprintf(w, "  %s   %s\n", u.Object, u.Detail)
		}
	}
}

func shortHash(h string) string {
	if h == "" {
		return "-"
	}
	return h[:min(7, len(h))]
}
