package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/gitsource/internal/gittest"
	"github.com/mainstay-gitops/mainstay/gitsource/receive"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
)

// checker is a daemon that loads what is pushed to the branch main, and takes it if it can.
type checker struct {
	source  *Source
	applied Commit
}

func (c *checker) Check(ctx context.Context, p *receive.Push, progress io.Writer) error {
	for _, u := range p.Updates {
		if u.Name != "refs/heads/main" {
			continue
		}
		to, err := p.Commit(u)
		if err != nil {
			return err
		}
		change, err := c.source.LoadFrom(ctx, func() (Reader, error) { return p.Reader() }, c.applied, to)
		if err != nil {
			return err
		}
		fmt.Fprintf(progress, "%d changed, %d manifests\n", len(change.Files)+len(change.Gone), change.Manifests)
	}
	return nil
}

func (c *checker) Accepted(ctx context.Context, p *receive.Push, progress io.Writer) {
	commit, err := c.source.Fetch(ctx)
	if err != nil {
		fmt.Fprintln(progress, err)
		return
	}
	c.applied = commit
	fmt.Fprintln(progress, "applied", commit.Hash.Short())
}

func TestAPushIsLoadedBeforeItIsAccepted(t *testing.T) {
	hosted, err := repo.OpenHosted(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer hosted.Close()
	if _, err := hosted.Create("app"); err != nil {
		t.Fatal(err)
	}
	s := open(t, Spec{URL: "builtin:app", Hosted: hosted})
	if _, err := s.Fetch(t.Context()); !errors.Is(err, repo.ErrEmpty) {
		t.Errorf("got %v", err)
	}
	c := &checker{source: s}
	url := gittest.Serve(t, receive.New(receive.Options{Repositories: hosted, Access: receive.Token("secret"), Hooks: c}))
	remote := strings.Replace(url, "http://", "http://me:secret@", 1) + "/app.git"
	work := gittest.New(t)
	push := func(files gittest.Files) (string, error) {
		gittest.Commit(t, work, "x", files)
		return gittest.Try(t, work, "push", remote, "main")
	}
	many := gittest.Files{}
	for i := range 300 { // more than is kept in memory, and decoded on all cores
		many[fmt.Sprintf("m/%d.yaml", i)] = configMap(fmt.Sprint("m", i)) + "data:\n  x: " + "v" + strings.Repeat(fmt.Sprint(i), 20) + "\n"
	}
	for _, step := range []struct {
		files gittest.Files
		want  string
		fails bool
	}{
		{gittest.Files{"a.yaml": configMap("a")}, "1 changed, 1 manifests", false},
		{gittest.Files{"b.yaml": configMap("a")}, "b.yaml:1: ConfigMap a is there already, at a.yaml:1", true},
		{gittest.Files{"b.yaml": configMap("b")}, "1 changed, 2 manifests", false},
		{many, "300 changed, 302 manifests", false},
		{gittest.Files{"m": "", "b.yaml": "x: y: z"}, "main -> main (1 error in 1 of 1 manifest)", true},
		{gittest.Files{"b.yaml": ""}, "301 changed, 1 manifests", false},
	} {
		out, err := push(step.files)
		if (err != nil) != step.fails || !strings.Contains(out, step.want) {
			t.Fatalf("want %q:\n%s", step.want, out)
		}
		if !step.fails && !strings.Contains(out, "remote: applied "+gittest.Git(t, work, "rev-parse", "--short=7", "HEAD")) {
			t.Errorf("got %s", out)
		}
	}
}
