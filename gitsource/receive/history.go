package receive

import (
	"container/heap"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A history is what a fetch asks for, and what of it the client has.
type history struct {
	rd      *repo.Reader
	request *fetchRequest
	common  []tree.Hash        // haves that are here
	tags    []tree.Hash        // annotated tags among the wants
	tips    []tree.Hash        // commits among the wants, or that those tags name
	cuts    []tree.Hash        // where a limit on depth cuts
	within  map[tree.Hash]bool // all commits up to the cuts; only with a depth
}

func newHistory(f *fetchRequest, rd *repo.Reader) (*history, error) {
	h := &history{rd: rd, request: f}
	for _, have := range f.haves {
		if rd.IsCommit(have) {
			h.common = append(h.common, have)
		}
	}
	for _, want := range f.wants {
		c, err := rd.Commit(want)
		if err != nil {
			return nil, err
		}
		if c.Hash != want {
			h.tags = append(h.tags, want)
		}
		h.tips = append(h.tips, c.Hash)
	}
	if f.depth == 0 {
		return h, nil
	}
	var err error
	h.within, h.cuts, err = h.reach(h.tips, f.depth, nil)
	return h, err
}

// reach are the commits that can be reached from some in so many steps, counting the first; 0 is any number. It does not
// go on behind a commit in stop. cuts are those that have parents further on.
func (h *history) reach(from []tree.Hash, depth int, stop map[tree.Hash]bool) (reached map[tree.Hash]bool, cuts []tree.Hash, err error) {
	reached = map[tree.Hash]bool{}
	for level := 1; len(from) > 0; level++ { // breadth first: each commit at its smallest depth
		var next []tree.Hash
		for _, hash := range from {
			if reached[hash] {
				continue
			}
			reached[hash] = true
			c, err := h.rd.Commit(hash)
			if err != nil {
				return nil, nil, err
			}
			switch {
			case level == depth && len(c.Parents) > 0:
				cuts = append(cuts, hash)
			case !stop[hash]:
				next = append(next, c.Parents...)
			}
		}
		from = next
	}
	return reached, cuts, nil
}

// objects are all that the client lacks.
func (h *history) objects() ([]tree.Hash, error) {
	commits, clients, err := h.missing()
	if err != nil {
		return nil, err
	}
	s := sender{rd: h.rd, has: map[tree.Hash]bool{}}
	if err := h.markEdge(&s, commits, clients); err != nil {
		return nil, err
	}
	for _, tag := range h.tags {
		s.add(tag)
	}
	for _, c := range commits {
		s.add(c.Hash)
		if err := s.tree(c.Tree, true); err != nil {
			return nil, err
		}
	}
	return s.out, nil
}

// markEdge marks the trees that the client has next to what is sent.
func (h *history) markEdge(s *sender, commits []repo.Commit, clients map[tree.Hash]bool) error {
	edge := map[tree.Hash]bool{}
	for _, c := range commits {
		for _, p := range c.Parents {
			if clients[p] {
				edge[p] = true
			}
		}
	}
	for _, c := range h.common {
		edge[c] = true
	}
	for e := range edge {
		c, err := h.rd.Commit(e)
		if err != nil {
			return err
		}
		if err := s.tree(c.Tree, false); err != nil {
			return err
		}
	}
	return nil
}

// missing are the commits that the client lacks, and those found on the way that it has.
func (h *history) missing() (commits []repo.Commit, clients map[tree.Hash]bool, err error) {
	if h.request.depth == 0 && len(h.request.shallow) == 0 {
		return h.paint()
	}
	asked := h.within
	if asked == nil {
		if asked, _, err = h.reach(h.tips, 0, h.request.shallow); err != nil {
			return nil, nil, err
		}
	}
	if clients, _, err = h.reach(h.common, 0, h.request.shallow); err != nil {
		return nil, nil, err
	}
	for hash := range asked {
		if clients[hash] {
			continue
		}
		c, err := h.rd.Commit(hash)
		if err != nil {
			return nil, nil, err
		}
		commits = append(commits, c)
	}
	return commits, clients, nil
}

// paint walks both histories from their newest commits backwards, until all that is left belongs to the client. Where
// clocks were wrong the client gets some commits again, which does no harm.
func (h *history) paint() (commits []repo.Commit, clients map[tree.Hash]bool, err error) {
	p := painter{rd: h.rd, clients: map[tree.Hash]bool{}}
	for _, hash := range h.tips {
		if err := p.see(hash, false); err != nil {
			return nil, nil, err
		}
	}
	for _, hash := range h.common {
		if err := p.see(hash, true); err != nil {
			return nil, nil, err
		}
	}
	for p.open > 0 {
		c := heap.Pop(&p.queue).(repo.Commit)
		if !p.clients[c.Hash] {
			p.open--
			commits = append(commits, c)
		}
		for _, parent := range c.Parents {
			if err := p.see(parent, p.clients[c.Hash]); err != nil {
				return nil, nil, err
			}
		}
	}
	return commits, p.clients, nil
}

// A painter knows of each commit it has seen whether the client has it.
type painter struct {
	rd      *repo.Reader
	clients map[tree.Hash]bool
	queue   newestFirst
	open    int // commits in the queue that the client lacks
}

func (p *painter) see(hash tree.Hash, clients bool) error {
	was, seen := p.clients[hash]
	if seen && (was || !clients) {
		return nil
	}
	p.clients[hash] = clients
	if seen { // it was taken for missing, and waits in the queue, or has been sent
		if p.queue.has(hash) {
			p.open--
		}
		return nil
	}
	c, err := p.rd.Commit(hash)
	if err != nil {
		return err
	}
	if !clients {
		p.open++
	}
	heap.Push(&p.queue, c)
	return nil
}

type newestFirst []repo.Commit

func (q newestFirst) has(hash tree.Hash) bool {
	for _, c := range q {
		if c.Hash == hash {
			return true
		}
	}
	return false
}

func (q newestFirst) Len() int           { return len(q) }
func (q newestFirst) Less(i, j int) bool { return q[i].Time.After(q[j].Time) }
func (q newestFirst) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *newestFirst) Push(x any)        { *q = append(*q, x.(repo.Commit)) }
func (q *newestFirst) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// A sender lists objects, each once.
type sender struct {
	rd  *repo.Reader
	has map[tree.Hash]bool
	out []tree.Hash
}

func (s *sender) add(h tree.Hash) {
	if !s.has[h] {
		s.has[h] = true
		s.out = append(s.out, h)
	}
}

// tree lists a tree and all below it, or with send unset marks it as there.
func (s *sender) tree(h tree.Hash, send bool) error {
	if s.has[h] {
		return nil
	}
	s.mark(h, send)
	entries, err := s.rd.Tree(h)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.Mode == tree.Folder:
			err = s.tree(e.Hash, send)
		case e.Mode != tree.Submodule:
			s.mark(e.Hash, send)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) mark(h tree.Hash, send bool) {
	if send {
		s.add(h)
	} else {
		s.has[h] = true
	}
}
