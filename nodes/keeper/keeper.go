package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
	"github.com/mainstay-gitops/mainstay/nodes/process"
)

// A Keeper is the daemon's side of the keeper process. It is safe for concurrent use.
type Keeper struct {
	Args    []string // what runs a Server that listens at Socket and says it is Version
	Version string
	RunDir  string // has its socket, pid file and log
	Tree    *cgroup.Tree
	Group   string // its cgroup; empty: that of the caller
	// Files opens the sockets that the Server's Work gets. It is asked when the first keeper is started: each later one gets
	// them from its predecessor or, when that was killed, from here. nil: none.
	Files func() ([]*os.File, error)
	Log   *slog.Logger

	mu   sync.Mutex // held during a call
	conn *conn      // nil: not connected
	pid  int
	lost context.CancelFunc // tells Run that the connection broke; nil: Run does not run
	held map[string]bool    // what should be held
	// sockets are those of the Server's Work, open here too: what is asked between two keepers waits for the next.
	sockets []*os.File
}

// Socket is where a keeper with this run folder listens.
func Socket(runDir string) string { return filepath.Join(runDir, "keeper.sock") }

// Ensure finds the keeper that an earlier daemon started, or starts one, or has a new one take over from one of another
// version. It returns when the right one answers, and holds all that it should.
func (k *Keeper) Ensure(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ensure(ctx); err != nil {
		return fmt.Errorf("ensure keeper: %w", err)
	}
	return nil
}

func (k *Keeper) ensure(ctx context.Context) error {
	k.hangUp()
	err := k.call(ctx)
	if err != nil || k.conn == nil {
		if err := k.start(ctx, err == nil); err != nil {
			return err
		}
	}
	_, _, err = k.conn.ask(ctx, request{Verb: hold, Paths: slices.Sorted(maps.Keys(k.held))})
	return err
}

// call connects to the keeper that runs. k.conn stays nil if that is of another version; an error says that there is none.
func (k *Keeper) call(ctx context.Context) error {
	c, err := dial(ctx, Socket(k.RunDir))
	if err != nil {
		return err
	}
	a, _, err := c.ask(ctx, request{Verb: hello})
	if err != nil || a.Version != k.Version {
		c.Close()
		return err
	}
	if a.Work != "" {
		k.Log.Warn("the keeper's work failed", "err", a.Work)
	}
	_, files, err := c.ask(ctx, request{Verb: handOver})
	if err != nil {
		c.Close()
		return err
	}
	k.keep(files)
	k.conn, k.pid = c, a.PID
	return nil
}

// keep holds sockets in the place of those that it held before.
func (k *Keeper) keep(files []*os.File) {
	for _, f := range k.sockets {
		f.Close()
	}
	k.sockets = files
}

// start starts a keeper, and waits until it answers.
func (k *Keeper) start(ctx context.Context, takesOver bool) error {
	passed, files := fromPredecessor, []*os.File(nil)
	if !takesOver {
		if len(k.sockets) == 0 && k.Files != nil {
			var err error
			if k.sockets, err = k.Files(); err != nil {
				return err
			}
		}
		passed, files = strconv.Itoa(len(k.sockets)), k.sockets
	}
	log := filepath.Join(k.RunDir, "keeper.log")
	p, err := process.Start(process.Spec{
		Args:    k.Args,
		Env:     append(os.Environ(), FilesEnv+"="+passed),
		Files:   files,
		PIDFile: filepath.Join(k.RunDir, "keeper.pid"),
		Log:     log,
		Tree:    k.Tree,
		Group:   k.Group,
	})
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := k.call(ctx); err == nil && k.conn != nil {
			return nil
		}
		if !p.Running() {
			return fmt.Errorf("it ended at once; see %s", log)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("it does not answer; see %s: %w", log, err)
		}
	}
}

func (k *Keeper) hangUp() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
}

// Run starts the keeper again whenever it ends, until ctx ends. It leaves it running then. Ensure comes first.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.letGo()
	for {
		k.watch(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.Log.Warn("lost the keeper, looking for it")
		if err := k.Ensure(ctx); err != nil && ctx.Err() == nil {
			k.Log.Error("the keeper does not start", "err", err)
			_ = sleep(ctx, time.Second)
		}
	}
}

// letGo closes what is open here.
func (k *Keeper) letGo() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keep(nil)
}

// watch returns when the keeper has ended, or the connection to it.
func (k *Keeper) watch(ctx context.Context) {
	ctx, lost := context.WithCancel(ctx)
	defer lost()
	k.mu.Lock()
	k.lost = lost
	pid, connected := k.pid, k.conn != nil
	k.mu.Unlock()
	if !connected {
		return
	}
	p, err := process.Open(pid)
	if err != nil {
		return
	}
	defer p.Close()
	_ = p.Wait(ctx)
}

// Hold has FIFOs held until they are released. While the keeper is away that is no error: it holds them when Run has
// brought it back.
func (k *Keeper) Hold(ctx context.Context, paths ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]bool{}
	}
	for _, p := range paths {
		k.held[p] = true
	}
	return k.ask(ctx, request{Verb: hold, Paths: paths})
}

// Release undoes Hold.
func (k *Keeper) Release(ctx context.Context, paths ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range paths {
		delete(k.held, p)
	}
	return k.ask(ctx, request{Verb: release, Paths: paths})
}

func (k *Keeper) ask(ctx context.Context, r request) error {
	if k.conn == nil || len(r.Paths) == 0 {
		return nil
	}
	_, _, err := k.conn.ask(ctx, r)
	if _, broken := errors.AsType[*brokenError](err); broken {
		k.hangUp() // its answer could be taken for that of the next call
		if k.lost != nil {
			k.lost()
		}
		return nil
	}
	return err
}

// Stop ends the keeper, whoever started it, and removes what it has in the run folder.
func (k *Keeper) Stop(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hangUp()
	k.keep(nil)
	if p, ok := process.Find(filepath.Join(k.RunDir, "keeper.pid")); ok {
		defer p.Close()
		if err := p.Stop(ctx, patience); err != nil {
			return fmt.Errorf("stop keeper: %w", err)
		}
	}
	if k.Group != "" {
		if err := k.Tree.Remove(ctx, k.Group); err != nil {
			return fmt.Errorf("stop keeper: %w", err)
		}
	}
	var errs []error
	for _, name := range []string{"keeper.sock", "keeper.sock.new", "keeper.pid", "keeper.log", "keeper.log.1"} {
		if err := os.Remove(filepath.Join(k.RunDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
