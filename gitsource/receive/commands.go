package receive

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

// What a push may ask for.
const (
	maxCommands = 1000
	maxOptions  = 64
	maxShallow  = 10_000
)

// capabilities are what the server can do. Without no-thin clients send deltas against objects that are not in the pack.
const capabilities = "report-status delete-refs side-band-64k ofs-delta atomic push-options quiet no-thin object-format=sha1 agent=mainstay"

// A pushRequest is what comes before the pack.
type pushRequest struct {
	updates      []repo.Update
	capabilities []string
	options      []string
	shallow      bool // the client does not have the whole history
}

func (p *pushRequest) can(capability string) bool { return slices.Contains(p.capabilities, capability) }

// hasPack says whether a pack follows: it does unless refs are only deleted.
func (p *pushRequest) hasPack() bool {
	return slices.ContainsFunc(p.updates, func(u repo.Update) bool { return !u.New.IsZero() })
}

// parsePush reads the commands and options of a push. It leaves body where the pack begins. Without commands, a client has
// nothing to push.
func parsePush(body io.Reader) (*pushRequest, error) {
	p := &pushRequest{}
	s := pktline.NewScanner(body)
	shallow := 0
	for s.Scan() && len(s.Bytes()) > 0 {
		line := string(s.Bytes())
		if strings.HasPrefix(line, "shallow ") {
			p.shallow = true
			if shallow++; shallow > maxShallow {
				return nil, errors.New("too many shallow lines")
			}
			continue
		}
		if err := p.command(line); err != nil {
			return nil, err
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read the commands: %w", err)
	}
	if !p.can("push-options") {
		return p, nil
	}
	for s.Scan() && len(s.Bytes()) > 0 {
		if len(p.options) == maxOptions {
			return nil, fmt.Errorf("more than %d push options", maxOptions)
		}
		p.options = append(p.options, strings.TrimSuffix(string(s.Bytes()), "\n"))
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read the push options: %w", err)
	}
	return p, nil
}

// command takes "old new name", with capabilities behind the first.
func (p *pushRequest) command(line string) error {
	if len(p.updates) == maxCommands {
		return fmt.Errorf("more than %d refs in one push", maxCommands)
	}
	line, caps, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
	if len(p.updates) == 0 {
		p.capabilities = strings.Fields(caps)
	}
	if slices.Contains(p.capabilities, "object-format=sha256") {
		return errors.New("repositories with SHA-256 names are not supported yet")
	}
	fields := strings.SplitN(line, " ", 3)
	if len(fields) != 3 {
		return fmt.Errorf("the command %q is not Git's", printable(line))
	}
	u := repo.Update{Name: fields[2]}
	var err error
	if u.Old, err = tree.ParseHash(fields[0]); err != nil {
		return err
	}
	if u.New, err = tree.ParseHash(fields[1]); err != nil {
		return err
	}
	if slices.ContainsFunc(p.updates, func(o repo.Update) bool { return o.Name == u.Name }) {
		return fmt.Errorf("%s is there twice", printable(u.Name))
	}
	p.updates = append(p.updates, u)
	return nil
}
