package main

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/lifecycle"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
)

func newRemoteCommand(at *place) *cobra.Command {
	c := &cobra.Command{Use: "remote", Short: "Connect a Git repository with Mainstay"}
	var name, path, namespace string
	add := &cobra.Command{
		Use:   "add [DIR]",
		Short: "Make a built-in repository, and add it to this one as the remote mainstay",
		Long: `Makes the built-in repository named after the folder, with a GitSource that applies its branch main,
and adds it to the Git repository in DIR as the remote "mainstay". The token that a push needs is not
written into the repository: Git asks a credential helper for it.`,
		Example: `  cd my-manifests && mainstay remote add && git push mainstay main
  mainstay remote add --path deploy --namespace shop ./shop`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return addRemote(cmd, *at, dir, name, path, namespace)
		},
	}
	add.Flags().StringVar(&name, "name", "", "name of the repository (default: that of the folder)")
	add.Flags().StringVar(&path, "path", "", "folder in the repository that holds the manifests (default: all of it)")
	add.Flags().StringVar(&namespace, "namespace", "", `namespace of manifests that name none (default: "default")`)
	c.AddCommand(add)
	return c
}

func addRemote(cmd *cobra.Command, at place, dir, name, path, namespace string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if out, err := git(abs, "rev-parse", "--git-dir"); err != nil {
		return fmt.Errorf("%s is not a Git repository: git init first (%s)", abs, strings.TrimSpace(out))
	}
	if name == "" {
		name = repositoryName(filepath.Base(abs))
	}
	if err := repo.CheckName(name); err != nil {
		return fmt.Errorf("%q: %w: choose one with --name", name, err)
	}
	e, err := at.endpoints()
	if err != nil {
		return err
	}
	cl, err := connect(at)
	if err != nil {
		return err
	}
	g := &v1alpha1.GitSource{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: lifecycle.SystemNamespace},
		Spec:       v1alpha1.GitSourceSpec{URL: "builtin:" + name, Path: path, Namespace: namespace},
	}
	if err := cl.ensureSource(cmd.Context(), g); err != nil {
		return err
	}
	remote := e.Git + "/" + name + ".git"
	if err := configureRemote(abs, at, e.Git, remote); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "remote mainstay is %s\nnow: git push mainstay main\n", remote)
	return nil
}

// repositoryName makes a name that a repository may have out of that of a folder.
func repositoryName(folder string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, folder)
	return strings.Trim(clean, "-")
}

// configureRemote adds the remote, or corrects it, and tells Git who knows the token.
func configureRemote(dir string, at place, server, remote string) error {
	verb := "add"
	if _, err := git(dir, "remote", "get-url", "mainstay"); err == nil {
		verb = "set-url"
	}
	if out, err := git(dir, "remote", verb, "mainstay", remote); err != nil {
		return fmt.Errorf("git remote %s: %s", verb, strings.TrimSpace(out))
	}
	data, err := filepath.Abs(at.data)
	if err != nil {
		return err
	}
	helper := credentialHelper(place{data}.token())
	u, err := url.Parse(server)
	if err != nil {
		return err
	}
	key := "credential." + u.Scheme + "://" + u.Host + ".helper"
	for _, args := range [][]string{{"config", "--replace-all", key, ""}, {"config", "--add", key, helper}} {
		if out, err := git(dir, args...); err != nil {
			return fmt.Errorf("git %s: %s", strings.Join(args, " "), strings.TrimSpace(out))
		}
	}
	return nil
}

// credentialHelper is what Git asks for the token, twice in each push (see git-credential(1)): a line for its shell, which
// starts in a hundredth of the time that this program does.
func credentialHelper(token string) string {
	return fmt.Sprintf(`!f() { test "$1" = get || exit 0; t=%s; `+
		`test -r "$t" || { echo "mainstay: cannot read $t: push as root, or give the file to a group" >&2; exit 1; }; `+
		`printf 'username=mainstay\npassword=%%s\n' "$(cat "$t")"; }; f`, shellQuote(token))
}

func git(dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).CombinedOutput()
	return string(out), err
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
