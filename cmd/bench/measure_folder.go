package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

const hookSecret = "not much of a secret"

// folderSource follows a repository on this machine. Its interval is an hour: it is the webhook that has it looked at.
const folderSource = `apiVersion: v1
kind: Secret
metadata: {name: hook, namespace: mainstay-system}
stringData: {token: ` + hookSecret + `}
---
apiVersion: mainstay.dev/v1alpha1
kind: GitSource
metadata: {name: folder, namespace: mainstay-system}
spec: {url: 'file://%s', interval: 1h, webhook: {name: hook}}
`

var sources = schema.GroupVersionResource{Group: "mainstay.dev", Version: "v1alpha1", Resource: "gitsources"}

// measureFolder has 10,000 manifests fetched from a repository on this machine, when a webhook says so: all of them, one
// changed line, and a commit that changes nothing. The time is that until a watch sees the commit in the source's status, from
// when the webhook was called (or, for the first, the source made).
func measureFolder(ctx context.Context, b *bench) error {
	return b.with(ctx, func(n *node) error {
		first := b.row(row{Name: "10,000 manifests, local repository, first sync", Unit: "s", Aim: 5})
		line := b.row(row{Name: "10,000 manifests, one line, from the webhook", Unit: "ms", Aim: 100})
		none := b.row(row{Name: "10,000 manifests, empty commit, from the webhook", Unit: "ms", Aim: 10})
		r, err := b.repository(ctx, "folder", bigManifests())
		if err != nil {
			return err
		}
		took, err := n.syncs(ctx, r, func() error { return n.apply(ctx, fmt.Sprintf(folderSource, r.dir)) })
		if err != nil {
			return err
		}
		first.ours(took.Seconds())
		for i := range quick * b.rounds {
			for _, w := range []struct {
				row   *row
				files map[string]string
			}{{line, bigChange(i, "changed")}, {none, nil}} {
				if err := r.next(ctx, w.files); err != nil {
					return err
				}
				took, err := n.syncs(ctx, r, func() error { return n.hook(ctx) })
				if err != nil {
					return err
				}
				w.row.ours(ms(took))
			}
		}
		return nil
	})
}

// syncs returns how long it took from the call of tell until the last commit of r was applied.
func (n *node) syncs(ctx context.Context, r *repository, tell func() error) (time.Duration, error) {
	out, err := r.command(ctx, "rev-parse", "HEAD").Output()
	if err != nil {
		return 0, err
	}
	head := strings.TrimSpace(string(out))
	s, err := expect(ctx, "commit applied", n.objects.Resource(sources).Namespace("mainstay-system").Watch, func(e watch.Event) bool {
		g, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			return false
		}
		hash, _, _ := unstructured.NestedString(g.Object, "status", "applied", "hash")
		return hash == head
	})
	if err != nil {
		return 0, err
	}
	started := time.Now()
	if err := tell(); err != nil {
		s.stop()
		return 0, err
	}
	at, err := s.wait(ctx, patience)
	if err == nil && at.Before(started) {
		err = fmt.Errorf("the commit was applied before it was told of")
	}
	return at.Sub(started), err
}

// hook sends what a forge sends after a push.
func (n *node) hook(ctx context.Context) error {
	body := []byte(`{"ref":"refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.git+"/hooks/mainstay-system/folder", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("webhook: %s", resp.Status)
	}
	return nil
}
