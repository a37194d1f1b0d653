// Package delivery follows the Git sources: it fetches, diffs, applies, waits for health and reports. What is live is kept as
// Git has it, by event.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mainstay-gitops/mainstay/gitsource"
	"github.com/mainstay-gitops/mainstay/gitsource/decode"
	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/control"
	"github.com/mainstay-gitops/mainstay/reconcile/history"
	"github.com/mainstay-gitops/mainstay/reconcile/loop"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Config is what a Delivery works with.
type Config struct {
	Store   store.Store
	Scheme  *scheme.Scheme
	Applier *apply.Applier
	Carrier *control.Carrier
	Hosted  *repo.Hosted // the built-in repositories
	Mirrors string       // folder for the mirrors of remotes
	// Watch calls changed whenever something below a local folder or repository changes, until ctx ends; nil: only the
	// interval looks.
	Watch func(ctx context.Context, path string, changed func()) error

	Limits history.Limits // of what is remembered; zero: the default

	Now  func() time.Time // nil: the clock
	Rand *rand.Rand       // nil: seeded by chance
	Log  *slog.Logger     // nil: none
}

// A Delivery follows all GitSources of a store.
type Delivery struct {
	Config
	cache   *decode.Cache
	sources *loop.Loop[store.Key] // to look for a new commit
	repairs *loop.Loop[store.Key] // objects to be put back
	reports *loop.Loop[store.Key] // sources whose health is to be written down

	mu       sync.Mutex
	followed map[store.Key]*followed
	claims   map[store.Key]store.Key // objects that a source was refused because another one has them, and that source
	tracker  *tracker
	seen     store.Revision // that tracker has followed
	waiting  map[store.Key][]chan struct{}
}

// cacheSize is how many bytes of decoded documents are kept.
const cacheSize = 8 << 20

// New makes a Delivery.
func New(c Config) *Delivery {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Limits == (history.Limits{}) {
		c.Limits = history.Default()
	}
	d := &Delivery{
		Config: c, cache: decode.NewCache(cacheSize),
		followed: map[store.Key]*followed{}, claims: map[store.Key]store.Key{}, waiting: map[store.Key][]chan struct{}{},
	}
	opts := loop.Options{Now: c.Now, Log: c.Log, Workers: 4, Min: 100 * time.Millisecond, Max: time.Minute}
	d.sources = loop.New("sync", d.sync, opts)
	d.reports = loop.New("report", d.report, opts)
	opts.Workers = 1
	d.repairs = loop.New("repair", d.repair, opts)
	return d
}

// Look has a source looked at now: something says that it has a new commit.
func (d *Delivery) Look(namespace, name string) {
	d.sources.Wake(store.Key{Kind: sourceKind, Namespace: namespace, Name: name})
}

// Run delivers until ctx ends.
func (d *Delivery) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.follow(ctx) })
	g.Go(func() error { return d.sources.Run(ctx) })
	g.Go(func() error { return d.repairs.Run(ctx) })
	g.Go(func() error { return d.reports.Run(ctx) })
	d.sources.Wake(store.Key{}) // of no source: what is remembered of those that are gone
	err := g.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.followed {
		f.close()
	}
	return err
}

// followed is one source that is open.
type followed struct {
	mu       sync.Mutex // one commit at a time
	source   *gitsource.Source
	spec     v1alpha1.GitSourceSpec
	secret   store.Object // that it logs in with, as it was when it was opened
	prepared *prepared    // by a push that is about to be accepted
	seeded   bool
	failures int // fetches in a row that failed
	stop     context.CancelFunc
}

// prepared is a commit that was loaded and planned before it was accepted.
type prepared struct {
	change gitsource.Change
	from   gitsource.Commit
	plan   *apply.Plan
}

// retry is how long to wait after one more fetch that failed: a second at first, a minute at last. f.mu is held.
func (f *followed) retry() time.Duration {
	f.failures++
	return min(time.Second<<min(f.failures-1, 6), time.Minute)
}

func (f *followed) close() {
	f.stop()
	f.source.Close()
}

// open returns the source as g describes it, opened anew if that has changed. Locked by the caller's use of f.mu.
func (d *Delivery) open(ctx context.Context, key store.Key, g *v1alpha1.GitSource) (*followed, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	secret, err := loginSecret(d.Store.Snapshot(), g)
	if err != nil {
		return nil, err
	}
	if f, ok := d.followed[key]; ok {
		if f.secret == secret && sameOrigin(f.spec, g.Spec) {
			return f, nil
		}
		f.close()
		delete(d.followed, key)
	}
	if name, ok := strings.CutPrefix(g.Spec.URL, "builtin:"); ok {
		if _, err := d.Hosted.Open(name); err != nil {
			if _, err := d.Hosted.Create(name); err != nil {
				return nil, fmt.Errorf("make repository %s: %w", name, err)
			}
		}
	}
	source, err := gitsource.Open(gitsource.Spec{
		URL: g.Spec.URL, Rev: repo.Rev{Branch: g.Spec.Ref.Branch, Tag: g.Spec.Ref.Tag, Commit: g.Spec.Ref.Commit},
		Path: g.Spec.Path, Namespace: apply.SourceOf(g).Default, Auth: credentials(secret),
		Kinds: d.Scheme, Cache: d.cache, Dir: filepath.Join(d.Mirrors, string(g.UID)), Hosted: d.Hosted,
	})
	if err != nil {
		return nil, err
	}
	f := &followed{source: source, spec: g.Spec, secret: secret}
	watch, stop := context.WithCancel(ctx)
	f.stop = stop
	d.followed[key] = f
	if path, ok := strings.CutPrefix(g.Spec.URL, "file://"); ok && d.Watch != nil {
		go func() {
			if err := d.Watch(watch, path, func() { d.sources.Wake(key) }); err != nil && watch.Err() == nil {
				d.Log.Warn("cannot watch a local source, looking at intervals only", "source", key, "path", path, "err", err)
			}
		}()
	}
	return f, nil
}

// sameOrigin tells whether two specs read the same documents.
func sameOrigin(a, b v1alpha1.GitSourceSpec) bool {
	return a.URL == b.URL && a.Ref == b.Ref && a.Path == b.Path && a.Namespace == b.Namespace
}

// drop closes a source that is gone.
func (d *Delivery) drop(key store.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f, ok := d.followed[key]; ok {
		f.close()
		delete(d.followed, key)
	}
	for k, by := range d.claims {
		if by == key {
			delete(d.claims, k)
		}
	}
	if d.tracker != nil {
		d.tracker.forget(key)
	}
	d.notify(key)
}
