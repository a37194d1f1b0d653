package receive

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"

	"github.com/mainstay-gitops/mainstay/gitsource/repo"
	"github.com/mainstay-gitops/mainstay/gitsource/tree"
)

const uploadCapabilities = "side-band-64k ofs-delta shallow no-progress object-format=sha1 agent=mainstay"

// advertise tells a client which refs there are, and what the service can do.
func (s *Server) advertise(w http.ResponseWriter, r *http.Request, repository *repo.Repository, service string) {
	lines, err := advertised(repository, service)
	if err != nil {
		s.fault(w, r, err)
		return
	}
	var b bytes.Buffer
	e := pktline.NewEncoder(&b)
	e.Encodef("# service=%s\n", service)
	e.Flush()
	caps := capabilities
	if service == uploadPack {
		caps = uploadCapabilities
		if head := repository.Head(); head != "" {
			caps += " symref=HEAD:" + head
		}
	}
	if len(lines) == 0 {
		lines = []string{tree.Hash{}.String() + " capabilities^{}"}
	}
	for i, line := range lines {
		if i == 0 {
			line += "\x00" + caps
		}
		e.Encodef("%s\n", line)
	}
	e.Flush()
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	w.Write(b.Bytes())
}

// advertised is a line for each ref. Who fetches also sees HEAD, and what annotated tags name.
func advertised(repository *repo.Repository, service string) ([]string, error) {
	refs, err := repository.Refs()
	if err != nil || service == receivePack {
		return refLines(refs), err
	}
	rd, err := repository.Reader()
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	var lines []string
	head := repository.Head()
	for _, ref := range refs {
		if ref.Name == head {
			lines = append(lines, ref.Hash.String()+" HEAD")
		}
	}
	for _, ref := range refs {
		lines = append(lines, ref.Hash.String()+" "+ref.Name)
		if !strings.HasPrefix(ref.Name, "refs/tags/") {
			continue
		}
		if c, err := rd.Commit(ref.Hash); err == nil && c.Hash != ref.Hash {
			lines = append(lines, c.Hash.String()+" "+ref.Name+"^{}")
		}
	}
	return lines, nil
}

func refLines(refs []repo.Ref) []string {
	lines := make([]string, len(refs))
	for i, ref := range refs {
		lines[i] = ref.Hash.String() + " " + ref.Name
	}
	return lines
}
