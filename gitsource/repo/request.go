package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"

	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// A peer is the server's side of one fetch, over http or ssh. What it returns is read before the next call.
type peer interface {
	// advertise returns what the server says first.
	advertise(ctx context.Context) (io.ReadCloser, error)
	// ask sends the request and returns the answer.
	ask(ctx context.Context, request []byte) (io.ReadCloser, error)
	close()
}

// A request for objects. Without depth it is all history.
type request struct {
	wants []tree.Hash
	have  tree.Hash // a commit whose tree is here whole, but not its history; zero: none
	depth int
	caps  string
}

// newRequest asks for what the server can do. A thin pack, of deltas against objects that only we have, is asked for only
// if we have some.
func newRequest(ad advertisement, wants []tree.Hash, have tree.Hash, depth int) request {
	caps := []string{"agent=mainstay"}
	for _, c := range []string{"side-band-64k", "ofs-delta", "no-progress"} {
		if ad.can(c) {
			caps = append(caps, c)
		}
	}
	for _, c := range []string{"multi_ack_detailed", "multi_ack"} { // some forges insist
		if ad.can(c) {
			caps = append(caps, c)
			break
		}
	}
	if ad.can("thin-pack") && !have.IsZero() {
		caps = append(caps, "thin-pack")
	}
	return request{wants, have, depth, strings.Join(caps, " ")}
}

// encode writes the request with all that the client ever says: that we are done follows at once.
func (r request) encode() []byte {
	var b bytes.Buffer
	e := pktline.NewEncoder(&b)
	for i, want := range r.wants {
		if i == 0 {
			e.Encodef("want %s %s\n", want, r.caps)
		} else {
			e.Encodef("want %s\n", want)
		}
	}
	if !r.have.IsZero() {
		e.Encodef("shallow %s\n", r.have)
	}
	if r.depth > 0 {
		e.Encodef("deepen %d\n", r.depth)
	}
	e.Flush()
	if !r.have.IsZero() {
		e.Encodef("have %s\n", r.have)
	}
	e.Encodef("done\n")
	return b.Bytes()
}

// readPack reads the answer up to the pack, and copies that to w.
func (r request) readPack(answer io.Reader, w io.Writer) error {
	s := pktline.NewScanner(answer)
	for r.depth > 0 && s.Scan() && len(s.Bytes()) > 0 { // shallow and unshallow lines: we know
	}
	for done := false; !done; {
		if !s.Scan() {
			return answerError(s.Err())
		}
		done = lastAck(strings.TrimSpace(string(s.Bytes())))
	}
	if strings.Contains(r.caps, "side-band-64k") {
		answer = sideband.NewDemuxer(sideband.Sideband64k, answer)
	}
	if _, err := io.Copy(w, answer); err != nil {
		return answerError(err)
	}
	return nil
}

// lastAck says whether the pack comes next. With multi_ack there are lines with one word more before.
func lastAck(line string) bool {
	return line == "NAK" || strings.HasPrefix(line, "ACK ") && strings.Count(line, " ") == 1
}

func answerError(err error) error {
	if refused, ok := errors.AsType[*pktline.ErrorLine](err); ok {
		return fmt.Errorf("the server says: %s", printable(refused.Text))
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("receive the pack: %w", err)
}
