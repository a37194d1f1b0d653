// Code writes what is generated from Go types: the OpenAPI definitions of the served packages, and deep copies and model
// names of our own kinds beside them. It is run by go generate in the folder reconcile/scheme/openapi; its argument is the
// root of the module, or of a copy of it.
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
	for _, p := range []string{
		"admissionregistration/v1", "apps/v1", "authentication/v1", "authorization/v1", "autoscaling/v1", "autoscaling/v2", "batch/v1",
		"certificates/v1", "coordination/v1", "core/v1", "discovery/v1", "events/v1", "flowcontrol/v1", "networking/v1", "node/v1",
		"policy/v1", "rbac/v1", "scheduling/v1", "scheduling/v1alpha3", "storage/v1",
	} {
		all = append(all, "k8s.io/api/"+p)
	}
	for _, p := range []string{"api/resource", "apis/meta/v1", "runtime", "util/intstr", "version"} {
		all = append(all, "k8s.io/apimachinery/pkg/"+p)
	}
	return append(all, "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1", "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1")
}

func main() {
	root := filepath.Join("..", "..", "..")
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	dir, err := os.MkdirTemp("", "generate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	header := filepath.Join(dir, "header")
	if err := os.WriteFile(header, []byte("//lint:file-ignore SA1019 what is deprecated is served all the same\n"), 0o644); err != nil {
		return err
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		return err
	}
	if err := tool(root, "deepcopy-gen", "--go-header-file", empty, "--output-file", "zz_generated.deepcopy.go", own); err != nil {
		return err
	}
	args := []string{
		"--go-header-file", header, "--output-dir", filepath.FromSlash("reconcile/scheme/openapi/definitions"), "--output-pkg", definitions,
		"--output-file", "zz_generated.openapi.go", "--output-model-name-file", models, "--report-filename", filepath.Join(dir, "violations"),
	}
	for _, p := range served() {
		args = append(args, "--readonly-pkg", p) // or the names of its models would be written beside its types
	}
	return tool(root, "openapi-gen", append(append(args, served()...), own)...)
}

func tool(root, name string, args ...string) error {
	cmd := exec.Command("go", append([]string{"tool", name}, args...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
