package receive

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// What a fetch may ask for.
const maxFetchLines = 100_000

// A fetchRequest is what a client wants, and what it says that it has.
type fetchRequest struct {
	wants        []tree.Hash
	capabilities []string
	shallow      map[tree.Hash]bool // commits whose parents the client does not have
	depth        int                // 0: all history
	haves        []tree.Hash
	asks         bool // the client wants to hear which of its haves are known
	done         bool // and wants the pack
}

// parseFetch reads a request of protocol version 0.
func parseFetch(body io.Reader) (*fetchRequest, error) {
	f := &fetchRequest{shallow: map[tree.Hash]bool{}}
	s := pktline.NewScanner(body)
	lines := 0
	for s.Scan() && len(s.Bytes()) > 0 {
		if lines++; lines > maxFetchLines {
			return nil, errors.New("too many lines")
		}
		if err := f.want(strings.TrimSuffix(string(s.Bytes()), "\n")); err != nil {
			return nil, err
		}
	}
	for !f.asks && s.Scan() {
		if f.asks = len(s.Bytes()) == 0; f.asks {
			break
		}
		if lines++; lines > maxFetchLines {
			return nil, errors.New("too many lines")
		}
		if err := f.have(strings.TrimSuffix(string(s.Bytes()), "\n")); err != nil {
			return nil, err
		}
	}
	return f, s.Err()
}

// want takes a line of the first part.
func (f *fetchRequest) want(line string) (err error) {
	key, value, _ := strings.Cut(line, " ")
	switch key {
	case "want":
		hash, caps, _ := strings.Cut(value, " ")
		if len(f.wants) == 0 {
			f.capabilities = strings.Fields(caps)
		}
		var h tree.Hash
		h, err = tree.ParseHash(hash)
		f.wants = append(f.wants, h)
	case "shallow":
		var h tree.Hash
		h, err = tree.ParseHash(value)
		f.shallow[h] = true
	case "deepen":
		if f.depth, err = strconv.Atoi(value); err == nil && f.depth < 0 {
			err = errors.New("a negative depth")
		}
	default:
		err = fmt.Errorf("%q is not known", printable(key))
	}
	return err
}

// have takes a line of the second part.
func (f *fetchRequest) have(line string) error {
	if line == "done" {
		f.asks, f.done = true, true
		return nil
	}
	hash, ok := strings.CutPrefix(line, "have ")
	h, err := tree.ParseHash(hash)
	if !ok || err != nil {
		return fmt.Errorf("%q is not known", printable(line))
	}
	f.haves = append(f.haves, h)
	return nil
}

// upload serves git fetch and git clone.
func (c *conversation) upload() {
	f, err := parseFetch(c.body)
	c.drain()
	if err != nil {
		refuse(c.w, c.r, http.StatusBadRequest, "This is no fetch: "+printable(err.Error())+".")
		return
	}
	if len(f.wants) == 0 {
		return
	}
	rd, err := c.repository.Reader()
	if err != nil {
		c.fault(c.w, c.r, err)
		return
	}
	defer rd.Close()
	if err := c.send(f, rd); err != nil {
		c.Log.Warn("serve fetch", "repository", c.name, "user", c.who, "err", err)
	}
}

// send answers a fetch. An error before the pack is told to the client.
func (c *conversation) send(f *fetchRequest, rd *repo.Reader) error {
	out := pktline.NewEncoder(c.w)
	if err := c.checkWants(f); err != nil {
		return errors.Join(err, out.Encodef("ERR %s\n", err))
	}
	h, err := newHistory(f, rd)
	if err != nil {
		return errors.Join(err, out.Encodef("ERR Mainstay could not read the repository\n"))
	}
	if _, err := c.w.Write(preface(f, h)); err != nil || !f.done {
		return err
	}
	objects, err := h.objects()
	if err != nil {
		return err
	}
	a := c.answer(slices.Contains(f.capabilities, "side-band-64k"))
	pack := bufio.NewWriterSize(a.data(), maxBand-1)
	if err := rd.WritePack(pack, objects); err != nil {
		return err
	}
	if err := pack.Flush(); err != nil {
		return err
	}
	return a.end()
}

// checkWants refuses what is not the tip of a branch or tag.
func (c *conversation) checkWants(f *fetchRequest) error {
	refs, err := c.repository.Refs()
	if err != nil {
		return err
	}
	for _, want := range f.wants {
		if !slices.ContainsFunc(refs, func(r repo.Ref) bool { return r.Hash == want }) {
			return fmt.Errorf("upload-pack: not our ref %s", want)
		}
	}
	return nil
}

// preface is what comes before the pack: where history is cut, and what both sides have.
func preface(f *fetchRequest, h *history) []byte {
	var b bytes.Buffer
	e := pktline.NewEncoder(&b)
	if f.depth > 0 {
		for _, cut := range h.cuts {
			if !f.shallow[cut] {
				e.Encodef("shallow %s\n", cut)
			}
		}
		for old := range f.shallow {
			if h.within[old] && !slices.Contains(h.cuts, old) {
				e.Encodef("unshallow %s\n", old)
			}
		}
		e.Flush()
	}
	switch {
	case !f.asks: // it wants to know where history is cut, before all else
	case len(h.common) > 0:
		e.Encodef("ACK %s\n", h.common[0])
	default:
		e.Encodef("NAK\n")
	}
	return b.Bytes()
}
