package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// measurePush pushes a change of one line in a repository of ten manifests, to Mainstay and to a plain bare repository that
// Git's own server serves over HTTP: once as a user pushes after mainstay remote add, whose token Git asks a helper for, and
// once with the token given, which shows what that helper costs. The plain server asks for no token.
func measurePush(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		whole := b.row(row{Name: "push of one line, 10 manifests", Unit: "ms", FloorIs: "plain repository", AimRatio: 1.3})
		given := b.row(row{Name: "push of one line, with the token given", Unit: "ms", FloorIs: "plain repository"})
		applied := b.row(row{Name: "push of one line, last byte to applied", Unit: "ms", Aim: 25})
		r, err := tenManifests(ctx, n, "ten")
		if err != nil {
			return err
		}
		plain, err := servePlain(ctx, b, "ten-plain")
		if err != nil {
			return err
		}
		defer plain.Close()
		if _, err := r.push(ctx, plain.url); err != nil {
			return err
		}
		if err := r.giveToken(ctx, n); err != nil {
			return err
		}
		for i := range quick * b.rounds {
			for _, w := range []struct {
				row    *row
				remote string
			}{{whole, "mainstay"}, {given, "given"}} {
				if err := r.next(ctx, map[string]string{"changed.yaml": configMap("changed", fmt.Sprint(w.remote, " ", i), 0)}); err != nil {
					return err
				}
				ours := func() error {
					p, err := r.deliver(ctx, w.remote)
					if err != nil {
						return err
					}
					w.row.ours(ms(p.took))
					applied.ours(ms(p.applied))
					return nil
				}
				theirs := func() error {
					p, err := r.push(ctx, plain.url)
					if err != nil {
						return err
					}
					w.row.floor(ms(p.took))
					return nil
				}
				if err := turns(i, ours, theirs); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// tenManifests is a repository of ten files, which Mainstay has applied.
func tenManifests(ctx context.Context, n *node, name string) (*repository, error) {
	files := map[string]string{"namespace.yaml": namespaceManifest, "changed.yaml": configMap("changed", "first", 0)}
	for i := range 8 {
		files[fmt.Sprintf("cm-%d.yaml", i)] = configMap(fmt.Sprint("cm-", i), "same", 0)
	}
	r, err := n.b.repository(ctx, name, files)
	if err != nil {
		return nil, err
	}
	if err := r.on(ctx, n); err != nil {
		return nil, err
	}
	_, err = r.push(ctx, "mainstay")
	return r, err
}

// giveToken adds the remote "given", which is Mainstay's with the token sent along at once.
func (r *repository) giveToken(ctx context.Context, n *node) error {
	token, err := os.ReadFile(n.data + "/git-token")
	if err != nil {
		return err
	}
	// Another spelling of the same host, so that the header goes only to this remote.
	host := strings.Replace(n.git, "127.0.0.1", "localhost", 1)
	if err := r.git(ctx, "remote", "add", "given", host+"/"+repositoryName(r)+".git"); err != nil {
		return err
	}
	return r.git(ctx, "config", "http."+host+"/.extraHeader", "Authorization: Bearer "+strings.TrimSpace(string(token)))
}

func repositoryName(r *repository) string { return r.dir[strings.LastIndexByte(r.dir, '/')+1:] }
