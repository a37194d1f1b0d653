package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	bigFiles   = 10_000
	bigFolders = 100
	bigSize    = 1 << 10 // bytes of a manifest
)

// bigManifests are ConfigMaps, in folders.
func bigManifests() map[string]string {
	files := map[string]string{"namespace.yaml": namespaceManifest}
	for i := range bigFiles {
		files[bigFile(i)] = configMap(bigName(i), "first", bigSize)
	}
	return files
}

func bigName(i int) string { return fmt.Sprintf("cm-%05d", i) }
func bigFile(i int) string { return fmt.Sprintf("d%02d/%s.yaml", i%bigFolders, bigName(i)) }

// bigChange changes one line of one of them.
func bigChange(i int, value string) map[string]string {
	return map[string]string{bigFile(i): configMap(bigName(i), value, bigSize)}
}

// measureBig pushes 10,000 manifests to an empty Mainstay, then changes of one line and commits that change nothing, and
// has drift put back. At the end it starts the daemon again.
func measureBig(ctx context.Context, b *bench) error {
	const plain = "plain repository"
	m := bigRows{
		first:        b.row(row{Name: "10,000 manifests, first push", Unit: "s", FloorIs: plain, Aim: 5}),
		firstApplied: b.row(row{Name: "10,000 manifests, first push, last byte to applied", Unit: "s"}),
		line:         b.row(row{Name: "10,000 manifests, one line, push", Unit: "ms", FloorIs: plain}),
		lineApplied:  b.row(row{Name: "10,000 manifests, one line, last byte to applied", Unit: "ms", Aim: 100}),
		none:         b.row(row{Name: "10,000 manifests, empty commit, push", Unit: "ms", FloorIs: plain}),
		noneApplied:  b.row(row{Name: "10,000 manifests, empty commit, last byte to applied", Unit: "ms", Aim: 10}),
		drift:        b.row(row{Name: "10,000 manifests, drift put back", Unit: "ms", Aim: 50}),
		start:        b.row(row{Name: "10,000 manifests, start of the daemon with them", Unit: "s"}),
	}
	for i := range min(b.rounds, 3) {
		if err := b.with(ctx, func(n *node) error { return m.round(ctx, n, i) }); err != nil {
			return err
		}
	}
	return nil
}

type bigRows struct{ first, firstApplied, line, lineApplied, none, noneApplied, drift, start *row }

func (m bigRows) round(ctx context.Context, n *node, round int) error {
	r, err := n.b.repository(ctx, fmt.Sprint("big-", round), bigManifests())
	if err != nil {
		return err
	}
	if err := r.on(ctx, n); err != nil {
		return err
	}
	plain, err := servePlain(ctx, n.b, fmt.Sprint("big-plain-", round))
	if err != nil {
		return err
	}
	defer plain.Close()
	// both pushes one commit, to Mainstay and to the plain server.
	both := func(turn int, scale func(time.Duration) float64, whole, applied *row) error {
		return turns(turn, func() error {
			p, err := r.deliver(ctx, "mainstay")
			if err != nil {
				return err
			}
			whole.ours(scale(p.took))
			applied.ours(scale(p.applied))
			return nil
		}, func() error {
			p, err := r.push(ctx, plain.url)
			if err != nil {
				return err
			}
			whole.floor(scale(p.took))
			return nil
		})
	}
	if err := both(round, time.Duration.Seconds, m.first, m.firstApplied); err != nil {
		return err
	}
	for i := range quick {
		if err := r.next(ctx, bigChange(77*i, fmt.Sprint("round ", round, " change ", i))); err != nil {
			return err
		}
		if err := both(i, ms, m.line, m.lineApplied); err != nil {
			return err
		}
		if err := r.next(ctx, nil); err != nil {
			return err
		}
		if err := both(i, ms, m.none, m.noneApplied); err != nil {
			return err
		}
		took, err := n.drift(ctx, bigName(9000+i))
		if err != nil {
			return err
		}
		m.drift.ours(ms(took))
	}
	took, err := n.restart(ctx)
	if err == nil {
		m.start.ours(took.Seconds())
	}
	return err
}

// drift changes a ConfigMap behind Git's back, and returns how long it took until a watch saw it put back, from when the change
// was sent.
func (n *node) drift(ctx context.Context, name string) (time.Duration, error) {
	maps := n.client.CoreV1().ConfigMaps(namespace)
	cm, err := maps.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return 0, err
	}
	was := cm.Data["value"]
	drifted := false
	s, err := expect(ctx, "ConfigMap put back", func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector, o.ResourceVersion = "metadata.name="+name, cm.ResourceVersion
		return maps.Watch(ctx, o)
	}, func(e watch.Event) bool {
		seen, ok := e.Object.(*corev1.ConfigMap)
		if !ok {
			return false
		}
		drifted = drifted || seen.Data["value"] != was
		return drifted && seen.Data["value"] == was
	})
	if err != nil {
		return 0, err
	}
	cm.Data["value"] = "by hand"
	started := time.Now()
	if _, err := maps.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
		s.stop()
		return 0, err
	}
	at, err := s.wait(ctx, patience)
	return at.Sub(started), err
}
