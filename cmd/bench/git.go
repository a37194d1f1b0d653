package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A repository is a user's Git repository of manifests.
type repository struct {
	b   *bench
	dir string
}

// repository makes one, with its first commit. The name is new in this run.
func (b *bench) repository(ctx context.Context, name string, files map[string]string) (*repository, error) {
	r := &repository{b, b.path(name)}
	if err := r.write(files); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"config", "gc.auto", "0"}} { // no tidying up while something is measured
		if err := r.git(ctx, args...); err != nil {
			return nil, err
		}
	}
	return r, r.commit(ctx)
}

// on makes it the repository of a source of n, to be pushed to the remote mainstay.
func (r *repository) on(ctx context.Context, n *node) error {
	return n.mainstay(ctx, nil, "remote", "add", r.dir)
}

func (r *repository) write(files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commit commits all that is in the folder, even if that changes nothing.
func (r *repository) commit(ctx context.Context) error {
	if err := r.git(ctx, "add", "-A"); err != nil {
		return err
	}
	return r.git(ctx, "commit", "-q", "--allow-empty", "-m", "A change")
}

func (r *repository) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir, c.Env = r.dir, r.b.environment()
	return c
}

func (r *repository) git(ctx context.Context, args ...string) error {
	if out, err := r.command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// A push is one that went well.
type push struct {
	started   time.Time
	took      time.Duration // the whole of it, as the user sees it
	applied   time.Duration // from the last byte received to the end of the transaction, as the daemon says
	appliedAt time.Time     // when this was read
	said      string        // all that Git wrote
}

var appliedLine = regexp.MustCompile(`^remote: applied in ([0-9.a-zµ]+)`)

// push pushes to a remote, and notes when the push said that it is applied; a plain server never does.
func (r *repository) push(ctx context.Context, remote string, options ...string) (push, error) {
	args := []string{"-c", "http.postBuffer=67108864", "push"} // in one piece: CGI takes no other
	for _, o := range options {
		args = append(args, "-o", o)
	}
	c := r.command(ctx, append(args, remote, "main")...)
	out, err := c.StderrPipe()
	if err != nil {
		return push{}, err
	}
	p := push{started: time.Now()}
	if err := c.Start(); err != nil {
		return p, err
	}
	var said bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if m := appliedLine.FindStringSubmatch(lines.Text()); m != nil {
			p.appliedAt = time.Now()
			if p.applied, err = time.ParseDuration(m[1]); err != nil {
				return p, err
			}
		}
	}
	err = c.Wait()
	p.took, p.said = time.Since(p.started), said.String()
	if err != nil {
		return p, fmt.Errorf("git push %s: %w\n%s", remote, err, p.said)
	}
	return p, nil
}

// deliver pushes to a remote that is Mainstay, and fails if the push is not said to be applied. It waits for nothing more.
func (r *repository) deliver(ctx context.Context, remote string) (push, error) {
	p, err := r.push(ctx, remote, "no-wait")
	if err == nil && p.appliedAt.IsZero() {
		err = fmt.Errorf("git push %s: it did not say \"applied in\", but\n%s", remote, p.said)
	}
	return p, err
}

// next writes files and commits them; without files, the commit changes nothing.
func (r *repository) next(ctx context.Context, files map[string]string) error {
	if err := r.write(files); err != nil {
		return err
	}
	return r.commit(ctx)
}

// change commits files, and delivers the commit.
func (r *repository) change(ctx context.Context, files map[string]string) (push, error) {
	if err := r.next(ctx, files); err != nil {
		return push{}, err
	}
	return r.deliver(ctx, "mainstay")
}
