// Package receive is the push server: smart HTTP for clone, fetch and push, protocol versions 0 and 1, over the
// repositories that live in Mainstay. Nothing that a push brings is in the repository before it is accepted.
package receive

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
)

// Hooks are what the daemon has to say about a push.
type Hooks interface {
	// Check runs before anything is accepted, while the new objects can be read through p. What it writes to progress is
	// shown to the user at once, line by line. An error refuses the push: its first line is the reason that Git shows
	// beside each ref, all of its lines are shown above. An error that is Refusals refuses only those refs. ErrDryRun
	// refuses politely. ctx ends when the client is gone; then the push is not accepted.
	Check(ctx context.Context, p *Push, progress io.Writer) error
	// Accepted runs after the refs have moved, for p.Updates that did. The user sees what it writes to progress until it
	// returns. ctx ends when the client is gone; the push stays accepted.
	Accepted(ctx context.Context, p *Push, progress io.Writer)
}

// ErrDryRun is for Check, when the user has only asked what would happen.
var ErrDryRun = errors.New("dry run: nothing was accepted")

// Refusals are the refs that a Check refuses, and why. In an atomic push one of them refuses all.
type Refusals map[string]error

// Error is that of one of them.
func (r Refusals) Error() string {
	for _, err := range r {
		return err.Error()
	}
	return "refused"
}

// A Push is what somebody wants to change in a repository. It is good until the hook that got it returns.
type Push struct {
	Repository string
	User       string   // who pushes, as Access has said
	Options    []string // of git push -o
	Updates    []repo.Update
	Received   time.Time // its last byte
	quarantine *repo.Quarantine
}

// Reader reads the repository together with what the push has brought, for one goroutine. Close it.
func (p *Push) Reader() (*repo.Reader, error) { return p.quarantine.Reader() }

// Commit is the commit that an update moves its ref to, also where a tag names it.
func (p *Push) Commit(u repo.Update) (repo.Commit, error) {
	rd, err := p.Reader()
	if err != nil {
		return repo.Commit{}, err
	}
	defer rd.Close()
	return rd.Commit(u.New)
}

// Access says who somebody is, and what they may do.
type Access interface {
	// Login returns who has the token. user is what they call themselves, and may be anything. ok is false for a token
	// that nobody has. It takes as long for a wrong token as for a right one.
	Login(ctx context.Context, user, token string) (who string, ok bool)
	// May says whether who may read a repository, or write to it.
	May(ctx context.Context, who, repository string, write bool) bool
}

// A Token is the Access of one shared token: who has it may do everything. An empty Token lets nobody in.
type Token string

// Login lets in who has the token, by the name that they give.
func (t Token) Login(_ context.Context, user, token string) (string, bool) {
	want, got := sha256.Sum256([]byte(t)), sha256.Sum256([]byte(token))
	return user, subtle.ConstantTimeCompare(want[:], got[:]) == 1 && t != ""
}

// May is always true.
func (t Token) May(context.Context, string, string, bool) bool { return true }

// Options of a Server. The zero values of the last group will do.
type Options struct {
	Repositories *repo.Hosted
	Access       Access
	Hooks        Hooks

	Protected []string      // refs that can neither be deleted nor forced; nil: the branch main
	Limits    repo.Limits   // of a push
	Idle      time.Duration // without a byte from the client, or to it, after which it is given up; 0: a minute
	Keepalive time.Duration // between signs of life while there is nothing to say; 0: 5 s
	Pushes    int           // that are taken in at the same time; 0: 4
	Log       *slog.Logger  // pushes at level info, faults of ours at error; nil: none
}

// A Server serves the repositories at /NAME.git, or /NAME.
type Server struct {
	Options
	slots  chan struct{}
	pushed chan *repo.Repository // to be compacted
}

var _ http.Handler = (*Server)(nil)

// Run keeps the repositories that are pushed to compact, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-s.pushed:
			if err := r.Compact(); err != nil {
				s.Log.Error("compact repository", "err", err)
			}
		}
	}
}

// New makes a server.
func New(o Options) *Server {
	if o.Protected == nil {
		o.Protected = []string{"refs/heads/main"}
	}
	if o.Limits == (repo.Limits{}) {
		o.Limits = repo.DefaultLimits()
	}
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	if o.Keepalive == 0 {
		o.Keepalive = 5 * time.Second
	}
	if o.Pushes == 0 {
		o.Pushes = 4
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{o, make(chan struct{}, o.Pushes), make(chan *repo.Repository, 16)}
}
