package disk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
	"github.com/mainstay-gitops/mainstay/reconcile/store/storetest"
)

// The test binary starts itself as a child that writes until it is killed, or looks at what there is.
const (
	childDoes  = "MAINSTAY_STORE_CHILD" // a name in children
	childDir   = "MAINSTAY_STORE_DIR"
	childSeed  = "MAINSTAY_STORE_SEED"
	childAcked = "MAINSTAY_STORE_ACKED"
	childThere = "MAINSTAY_STORE_THERE"
)

func TestMain(m *testing.M) {
	children := map[string]func(dir string, seed uint64) error{"write": writeUntilKilled, "write large": writeLarge, "look": look}
	f, ok := children[os.Getenv(childDoes)]
	if !ok {
		os.Exit(m.Run())
	}
	seed, err := strconv.ParseUint(os.Getenv(childSeed), 10, 64)
	if err == nil {
		err = f(os.Getenv(childDir), seed)
	}
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
}

// self is the command of a child.
func self(does, dir string, seed uint64, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDoes+"="+does, childDir+"="+dir, childSeed+"="+strconv.FormatUint(seed, 10))
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// A nextGroup follows from the seed and the model, so the parent knows what the child was about to write.
type nextGroup func(seed uint64, m *storetest.Model) []store.Delta

// mixed is mostly small; one group in twelve is above Badger's limit.
func mixed(seed uint64, m *storetest.Model) []store.Delta {
	r := rand.New(rand.NewPCG(seed, uint64(m.Revision)))
	if r.IntN(12) == 0 {
		return m.Large(r, 1500+r.IntN(1000), 600)
	}
	return m.Group(r, storetest.Sizes{Deltas: 4, Changes: 8, Bytes: 3000, Keys: 2500})
}

// large is 10,000 objects of 2 KB in one transaction.
func large(seed uint64, m *storetest.Model) []store.Delta {
	return m.Large(rand.New(rand.NewPCG(seed, uint64(m.Revision))), 10_000, 4000)
}

func writeUntilKilled(dir string, seed uint64) error { return writeGroups(dir, seed, mixed) }
func writeLarge(dir string, seed uint64) error       { return writeGroups(dir, seed, large) }

// writeGroups says each revision when it is acknowledged, and what the log has to say.
func writeGroups(dir string, seed uint64, next nextGroup) error {
	b, err := Open(dir, newCodec(), Options{Log: slog.New(teller{})})
	if err != nil {
		return err
	}
	m, err := storetest.Loaded(b)
	if err != nil {
		return err
	}
	fmt.Println("# open")
	for n := 1; ; n++ {
		ds := next(seed, m)
		if err := b.Append(context.Background(), m.Revision, ds); err != nil {
			return err
		}
		for _, d := range ds {
			if err := m.Apply(d); err != nil {
				return err
			}
		}
		fmt.Println(uint64(m.Revision))
		if n%10 == 0 {
			if err := b.settle(context.Background()); err != nil {
				return err
			}
		}
	}
}

// A teller is a log on standard output.
type teller struct{}

func (teller) Enabled(context.Context, slog.Level) bool { return true }
func (t teller) WithAttrs([]slog.Attr) slog.Handler     { return t }
func (t teller) WithGroup(string) slog.Handler          { return t }
func (teller) Handle(_ context.Context, r slog.Record) error {
	_, err := fmt.Println("#", r.Message)
	return err
}

// A run is what a child that was killed has done.
type run struct {
	acked  store.Revision
	groups int
	log    []string
}

// A moment of a child's life, from which on the time is taken after which it is killed.
type moment int

const (
	started moment = iota
	opened
	acknowledged // its first group
)

// killed starts a child and kills it d after a moment.
func killed(does, dir string, seed uint64, after moment, d time.Duration) (r run, err error) {
	cmd := self(does, dir, seed)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return r, err
	}
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	reached := func(m moment) {
		if m == after {
			timer.Reset(d)
		}
	}
	reached(started)
	for s := bufio.NewScanner(out); s.Scan(); {
		line := s.Text()
		if line == "# open" {
			reached(opened)
		} else if text, ok := strings.CutPrefix(line, "# "); ok {
			r.log = append(r.log, text)
		} else if n, e := strconv.ParseUint(line, 10, 64); e == nil {
			if r.acked, r.groups = store.Revision(n), r.groups+1; r.groups == 1 {
				reached(acknowledged)
			}
		} else {
			err = errors.Join(err, errors.New("the child says: "+line))
		}
	}
	_ = cmd.Wait() // it was killed
	return r, err
}
