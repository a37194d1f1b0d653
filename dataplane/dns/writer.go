package dns

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/dataplane/dns/server"
	"github.com/mainstay-gitops/mainstay/dataplane/internal/follow"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const (
	settle = 5 * time.Millisecond // changes often come several at once
	share  = 20                   // writing takes at most one part in this of the time
	retry  = time.Second          // after a write that failed
)

// Config of a Writer.
type Config struct {
	Store  store.Reader
	Domain string         // of the cluster, such as cluster.local
	Ranges []netip.Prefix // of pods and services
	File   string         // that dns/server reads
	Log    *slog.Logger   // nil: none
}

// A Writer keeps the file as the store's services want it. It is made by New and works in Run, or by Look and Write in
// turn. Synced may be called by anybody at any time.
type Writer struct {
	cfg    Config
	header server.Header
	poke   chan struct{}

	// What follows belongs to who works.
	follow *follow.Follower
	lines  *btree.Set[string]
	of     map[store.Key][]string // the lines of each service or namespace
	dirty  bool                   // lines are not those of the file

	mu      sync.Mutex
	done    store.Revision // everything up to here is in the file
	changed chan struct{}  // closed when done changed; nil if nobody waits
}

// New makes a writer that has read the store and written nothing.
func New(cfg Config) *Writer {
	w := &Writer{
		cfg:    cfg,
		header: server.Header{Domain: absolute(cfg.Domain), Ranges: cfg.Ranges},
		poke:   make(chan struct{}, 1),
		dirty:  true,
	}
	s := cfg.Store.Snapshot()
	w.follow = follow.New(cfg.Store, s, kind(corev1.GroupName, "Service"), kind(discoveryv1.GroupName, "EndpointSlice"), kind(corev1.GroupName, "Namespace"))
	w.readAll()
	return w
}

func kind(group, name string) schema.GroupKind { return schema.GroupKind{Group: group, Kind: name} }

// readAll learns everything from the newest snapshot.
func (w *Writer) readAll() {
	s := w.cfg.Store.Snapshot()
	w.lines, w.of = &btree.Set[string]{}, map[store.Key][]string{}
	w.lines.Insert(Version(w.header.Domain).String())
	for svc := range store.List[*corev1.Service](s) {
		w.learn(s, s.Key(svc))
	}
	for ns := range store.List[*corev1.Namespace](s) {
		w.learn(s, s.Key(ns))
	}
	w.dirty = true
}

// learn takes in what a service or namespace is now.
func (w *Writer) learn(s *store.Snapshot, key store.Key) {
	var lines []string
	if key.Kind.Kind == "Namespace" {
		if _, ok := s.Get(key); ok {
			lines = append(lines, Namespace(key.Name, w.header.Domain).String())
		}
	} else {
		for _, r := range Records(s, key, w.header.Domain) {
			lines = append(lines, r.String())
		}
	}
	slices.Sort(lines)
	if lines = slices.Compact(lines); slices.Equal(lines, w.of[key]) {
		return
	}
	w.dirty = true
	for _, line := range w.of[key] {
		w.lines.Delete(line)
	}
	for _, line := range lines {
		w.lines.Insert(line)
	}
	if w.of[key] = lines; len(lines) == 0 {
		delete(w.of, key)
	}
}

// Look takes in what changed in the store, and tells whether the file must be written.
func (w *Writer) Look() bool {
	changed := map[store.Key]bool{}
	for c := range w.follow.Changes(w.readAll) {
		for _, o := range []store.Object{c.Old, c.New} {
			if key, ok := keyOf(o); ok {
				changed[key] = true
			}
		}
	}
	s := w.cfg.Store.Snapshot()
	for key := range changed {
		w.learn(s, key)
	}
	if !w.dirty {
		w.reach(w.follow.Reached())
	}
	return w.dirty
}

// keyOf is the service or namespace that o is, or says something of.
func keyOf(o store.Object) (store.Key, bool) {
	switch o := o.(type) {
	case *corev1.Service:
		return store.Key{Kind: kind(corev1.GroupName, "Service"), Namespace: o.Namespace, Name: o.Name}, true
	case *discoveryv1.EndpointSlice:
		name := o.Labels[discoveryv1.LabelServiceName]
		return store.Key{Kind: kind(corev1.GroupName, "Service"), Namespace: o.Namespace, Name: name}, name != ""
	case *corev1.Namespace:
		return store.Key{Kind: kind(corev1.GroupName, "Namespace"), Name: o.Name}, true
	}
	return store.Key{}, false
}

// Write writes the file, in one piece for who reads it.
func (w *Writer) Write() error {
	if err := w.write(); err != nil {
		return fmt.Errorf("write DNS records: %w", err)
	}
	w.dirty = false
	w.reach(w.follow.Reached())
	return nil
}

func (w *Writer) write() error {
	next := w.cfg.File + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	fmt.Fprintln(b, w.header)
	w.lines.Scan(func(line string) bool {
		b.WriteString(line)
		return b.WriteByte('\n') == nil
	})
	err = b.Flush()
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(next, w.cfg.File)
	}
	return err
}

// Run writes the file whenever it must be, until ctx ends, and returns ctx's error. Changes that come close together are
// one write, and when there is much to write it is written less often.
func (w *Writer) Run(ctx context.Context) error {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		if !w.Look() {
			w.follow.Wait(ctx, w.poke, nil)
			continue
		}
		sleep(ctx, max(settle, pause))
		w.Look()
		start := time.Now()
		err := w.Write()
		pause = share * time.Since(start)
		if err != nil {
			pause = retry
			if w.cfg.Log != nil {
				w.cfg.Log.Warn("names that changed are not known yet, trying again", "err", err)
			}
		}
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// reach notes that everything up to r is in the file.
func (w *Writer) reach(r store.Revision) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r > w.done {
		w.done = r
		if w.changed != nil {
			close(w.changed)
			w.changed = nil
		}
	}
}

// Synced returns when everything up to revision r is in the file, or with an error when ctx ends.
func (w *Writer) Synced(ctx context.Context, r store.Revision) error {
	for {
		w.mu.Lock()
		if w.done >= r {
			w.mu.Unlock()
			return nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case w.poke <- struct{}{}: // the store may have moved on without a change to a name
		default:
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d in DNS: %w", r, ctx.Err())
		case <-changed:
		}
	}
}
