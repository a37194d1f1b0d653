// Code writes what is generated from Go types: the OpenAPI definitions of the served packages into
// ../definitions, and deep copies and model names of our own kinds beside them. It is run by go generate in the folder
// reconcile/scheme/openapi; with an argument it writes the definitions there instead, and nothing else.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	module      = "github.com/mainstay-gitops/mainstay/reconcile/scheme"
	own         = module + "/v1alpha1"
	definitions = module + "/openapi/definitions"
	models      = "zz_generated.model_name.go"
)

// served are the packages whose types are in the documents.
func served() []string {
	var all []string
	for _, p := range []string{"apps", "autoscaling", "coordination", "core", "discovery", "policy"} {
		all = append(all, "k8s.io/api/"+p+"/v1")
	}
	for _, p := range []string{"api/resource", "apis/meta/v1", "runtime", "util/intstr", "version"} {
		all = append(all, "k8s.io/apimachinery/pkg/"+p)
	}
	return all
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	header, err := os.CreateTemp("", "header")
	if err != nil {
		return err
	}
	defer os.Remove(header.Name())
	header.Close()
	if len(args) == 1 {
		return openapi(header.Name(), args[0], append(served(), own))
	}
	if err := tool("deepcopy-gen", "--go-header-file", header.Name(), "--output-file", "zz_generated.deepcopy.go", own); err != nil {
		return err
	}
	return openapi(header.Name(), "definitions", served())
}

// openapi writes the definitions into dir. Model names are written beside the types, except into packages that are only
// to be read.
func openapi(header, dir string, readonly []string) error {
	report := filepath.Join(filepath.Dir(header), filepath.Base(header)+".violations")
	defer os.Remove(report)
	args := []string{
		"--go-header-file", header, "--output-dir", dir, "--output-pkg", definitions, "--output-file", "zz_generated.openapi.go",
		"--output-model-name-file", models, "--report-filename", report,
	}
	for _, p := range readonly {
		args = append(args, "--readonly-pkg", p)
	}
	return tool("openapi-gen", append(append(args, served()...), own)...)
}

func tool(name string, args ...string) error {
	out, err := exec.Command("go", append([]string{"tool", name}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w\n%s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
