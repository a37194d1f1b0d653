package receive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A conversation is one request and its answer.
type conversation struct {
	*Server
	w          http.ResponseWriter
	r          *http.Request
	rc         *http.ResponseController
	repository *repo.Repository
	name       string
	who        string
	body       *bufio.Reader
}

func (c *conversation) answer(side bool) *answer {
	return &answer{w: c.w, rc: c.rc, idle: c.Idle, side: side}
}

// receive serves git push.
func (c *conversation) receive() {
	req, err := parsePush(c.body)
	if err != nil {
		c.drain()
		refuse(c.w, c.r, http.StatusBadRequest, "This is no push: "+printable(err.Error())+".")
		return
	}
	if len(req.updates) == 0 {
		return
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.r.Context().Done():
		return
	}
	p := push{conversation: c, req: req, errs: make([]error, len(req.updates)), out: c.answer(req.can("side-band-64k"))}
	free := releaseOnce(c.slots)
	defer free()
	defer p.discard()
	p.take()
	p.decide(c.r.Context())
	p.discard()
	free() // a rollout that is watched takes nobody's place
	p.finish()
	select {
	case c.pushed <- c.repository:
	default: // the next push will do
	}
}

// releaseOnce gives a slot back at the first call.
func releaseOnce(slots chan struct{}) func() {
	done := false
	return func() {
		if !done {
			done = true
			<-slots
		}
	}
}

// drain reads the request to its end: the client listens only then.
func (c *conversation) drain() { io.Copy(io.Discard, io.LimitReader(c.body, drainLimit)) }

// A push is one on its way. errs has the reason for each update that was refused.
type push struct {
	*conversation
	req        *pushRequest
	out        *answer
	received   time.Time // the last byte of the pack
	quarantine *repo.Quarantine
	unpack     error // the pack was refused, and so are all updates
	errs       []error
}

// take reads the pack and looks through it.
func (p *push) take() {
	p.received = time.Now()
	pack := io.Reader(p)
	if !p.req.hasPack() {
		pack = strings.NewReader("")
	}
	p.quarantine, p.unpack = p.repository.Quarantine(pack, p.Limits)
	p.drain()
	if p.unpack != nil {
		return
	}
	var tips []tree.Hash
	for _, u := range p.req.updates {
		if !u.New.IsZero() {
			tips = append(tips, u.New)
		}
	}
	p.unpack = p.quarantine.Connected(tips)
	if errors.Is(p.unpack, repo.ErrMissing) && p.req.shallow {
		p.unpack = fmt.Errorf("%w: your clone is shallow, `git fetch --unshallow` completes it", p.unpack)
	}
}

// Read reads the pack, and notes when its last byte came.
func (p *push) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	if n > 0 {
		p.received = time.Now()
	}
	return n, err
}

func (p *push) discard() {
	if p.quarantine == nil {
		return
	}
	if err := p.quarantine.Discard(); err != nil {
		p.Log.Error("discard what a push has brought", "repository", p.name, "err", err)
	}
}

// decide asks everybody and moves the refs. What is refused has its reason in errs afterwards.
func (p *push) decide(ctx context.Context) {
	if p.unpack != nil {
		p.refuseAll(errors.New("unpacker error"))
		return
	}
	p.policy()
	if p.settle(); len(p.open()) == 0 {
		return
	}
	p.check(ctx)
	if p.settle(); len(p.open()) == 0 {
		return
	}
	if ctx.Err() != nil {
		p.refuseAll(errors.New("the client has gone away"))
		return
	}
	open := p.open()
	for i, err := range p.repository.Update(ctx, p.quarantine, p.updates(), p.req.can("atomic")) {
		p.errs[open[i]] = err
	}
}

// open are the indexes of updates that nobody has refused yet.
func (p *push) open() []int {
	var open []int
	for i, err := range p.errs {
		if err == nil {
			open = append(open, i)
		}
	}
	return open
}

// updates are those that nobody has refused yet.
func (p *push) updates() []repo.Update {
	var us []repo.Update
	for _, i := range p.open() {
		us = append(us, p.req.updates[i])
	}
	return us
}

func (p *push) refuseAll(err error) {
	for _, i := range p.open() {
		p.errs[i] = err
	}
}

// settle refuses the rest of an atomic push of which something was refused.
func (p *push) settle() {
	if p.req.can("atomic") && len(p.open()) < len(p.errs) {
		p.refuseAll(repo.ErrAtomic)
	}
}

// policy refuses what no hook needs to be asked about.
func (p *push) policy() {
	rd, err := p.quarantine.Reader()
	if err != nil {
		p.refuseAll(err)
		return
	}
	defer rd.Close()
	for i, u := range p.req.updates {
		p.errs[i] = p.allowed(rd, u)
	}
}

func (p *push) allowed(rd *repo.Reader, u repo.Update) error {
	if err := repo.CheckRefName(u.Name); err != nil {
		return err
	}
	protected := slices.Contains(p.Protected, u.Name)
	switch {
	case u.Old.IsZero() && u.New.IsZero():
		return errors.New("there is no such ref")
	case u.New.IsZero() && protected:
		return errors.New("this branch is protected: it cannot be deleted")
	case u.New.IsZero():
		return nil
	case strings.HasPrefix(u.Name, "refs/heads/") && !rd.IsCommit(u.New):
		return errors.New("a branch must point at a commit")
	case !protected || u.Old.IsZero():
		return nil
	}
	forward, err := rd.IsAncestor(u.Old, u.New)
	if err == nil && !forward {
		err = errors.New("this branch is protected: it can only go forward, fetch and merge first")
	}
	return err
}

// check asks the hook.
func (p *push) check(ctx context.Context) {
	stop := p.out.alive(ctx, p.Keepalive)
	err := p.Hooks.Check(ctx, p.public(), p.out.progress())
	stop()
	if err == nil {
		return
	}
	if some, ok := errors.AsType[Refusals](err); ok {
		for i, u := range p.req.updates {
			if e := some[u.Name]; e != nil && p.errs[i] == nil {
				p.errs[i] = e
				p.explain(e)
			}
		}
		return
	}
	p.explain(err)
	p.refuseAll(err)
}

// explain shows an error that has more lines than fit beside a ref.
func (p *push) explain(err error) {
	if text := strings.TrimSpace(err.Error()); strings.Contains(text, "\n") {
		fmt.Fprintln(p.out.progress(), text)
	}
}

// public is the push as hooks see it.
func (p *push) public() *Push {
	return &Push{
		Repository: p.name, User: p.who, Options: p.req.options,
		Updates: p.updates(), Received: p.received, quarantine: p.quarantine,
	}
}

// finish reports to the client, before anything else, and then lets the hook tell what becomes of the push. A client that
// is gone by then has the report, or can ask.
func (p *push) finish() {
	if p.req.can("report-status") {
		p.report()
	}
	accepted := p.public()
	p.Log.Info("push", "repository", p.name, "user", p.who, "accepted", len(accepted.Updates), "refused", len(p.errs)-len(accepted.Updates))
	if len(accepted.Updates) > 0 {
		stop := p.out.alive(p.r.Context(), p.Keepalive)
		p.Hooks.Accepted(p.r.Context(), accepted, p.out.progress())
		stop()
	}
	p.out.end()
}

func (p *push) report() {
	unpack := ""
	if p.unpack != nil {
		unpack = reason(p.unpack)
		fmt.Fprintln(p.out.progress(), "error: "+unpack)
	}
	var names, reasons []string
	for i, u := range p.req.updates {
		names = append(names, printable(u.Name))
		reasons = append(reasons, reason(p.errs[i]))
	}
	if p.out.packet(bandData, report(unpack, names, reasons)) == nil {
		p.out.flush()
	}
}
