package receive

import (
	"bufio"
	"compress/gzip"
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

const (
	receivePack = "git-receive-pack"
	uploadPack  = "git-upload-pack"
)

// A target is what a URL asks for.
type target struct {
	repository string
	service    string // receivePack or uploadPack
	advertise  bool   // GET info/refs, which comes first
}

// ServeHTTP serves one request of Git's. What goes wrong before Git's own protocol begins is said as plain text, which Git
// shows to the user.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, ok := s.login(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="mainstay"`)
		refuse(w, r, http.StatusUnauthorized, "The token is not right. `mainstay remote add` stores the right one.")
		return
	}
	t, ok := parseTarget(r)
	if !ok {
		refuse(w, r, http.StatusNotFound, "There is no Git repository at this address. They are at /NAME.git.")
		return
	}
	if !s.Access.May(r.Context(), who, t.repository, t.service == receivePack) {
		refuse(w, r, http.StatusForbidden, fmt.Sprintf("%s may not do this in the repository %s.", who, t.repository))
		return
	}
	repository, err := s.Repositories.Open(t.repository)
	if errors.Is(err, tree.ErrNotFound) {
		refuse(w, r, http.StatusNotFound, s.noRepository(r.Context(), who, t.repository))
		return
	}
	if err != nil {
		s.fault(w, r, err)
		return
	}
	noCache(w.Header())
	if t.advertise {
		s.advertise(w, r, repository, t.service)
		return
	}
	s.serve(w, r, repository, t, who)
}

func (s *Server) login(r *http.Request) (who string, ok bool) {
	user, token, ok := r.BasicAuth()
	if !ok {
		if token, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok {
			return "", false
		}
	}
	return s.Access.Login(r.Context(), user, token)
}

// parseTarget reads /NAME.git/info/refs?service=SERVICE and /NAME.git/SERVICE.
func parseTarget(r *http.Request) (target, bool) {
	name, action, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	t := target{repository: strings.TrimSuffix(name, ".git")}
	if action == "info/refs" && r.Method == http.MethodGet {
		t.advertise, t.service = true, r.URL.Query().Get("service")
	} else if r.Method == http.MethodPost {
		t.service = action
	}
	return t, ok && (t.service == receivePack || t.service == uploadPack)
}

// noRepository says which there are, as far as the user may know.
func (s *Server) noRepository(ctx context.Context, who, name string) string {
	text := fmt.Sprintf("There is no repository %q. `mainstay remote add` makes one.", printable(name))
	names, err := s.Repositories.List()
	if err != nil {
		return text
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !s.Access.May(ctx, who, n, false) })
	if len(names) > 0 {
		text += " There is: " + strings.Join(names, ", ") + "."
	}
	return text
}

// noCache is what Git's own server says; the last line keeps proxies from holding back the progress.
func noCache(h http.Header) {
	h.Set("Expires", "Fri, 01 Jan 1980 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
	h.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	h.Set("X-Accel-Buffering", "no")
}

// drainLimit is how much of a refused request is read, so that the client reads the answer instead of a reset.
const drainLimit = 1 << 30

// refuse says no in plain text.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	io.Copy(io.Discard, io.LimitReader(r.Body, drainLimit))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// fault says that it is our fault, and writes down why.
func (s *Server) fault(w http.ResponseWriter, r *http.Request, err error) {
	s.Log.Error("serve git", "path", r.URL.Path, "err", err)
	refuse(w, r, http.StatusInternalServerError, "Mainstay could not read the repository. Its log says why.")
}

// serve takes the request of a service and answers it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, repository *repo.Repository, t target, who string) {
	body, err := s.body(w, r)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/x-"+t.service+"-result")
	if probe, err := body.Peek(5); string(probe) == "0000" && err == io.EOF {
		w.WriteHeader(http.StatusOK) // Git asks whether it may send the real request, in pieces
		return
	}
	c := conversation{Server: s, w: w, r: r, rc: http.NewResponseController(w), repository: repository, name: t.repository, who: who, body: body}
	if t.service == receivePack {
		c.receive()
	} else {
		c.upload()
	}
}

// body is the request, unpacked. Each read of it must bring something in time.
func (s *Server) body(w http.ResponseWriter, r *http.Request) (*bufio.Reader, error) {
	var body io.Reader = &patient{r.Body, http.NewResponseController(w), s.Idle}
	if strings.Contains(r.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, errors.New("the request is not the gzip that it says it is")
		}
		body = z
	}
	return bufio.NewReaderSize(body, 64<<10), nil
}

// A patient reader waits for each read only so long. When the body has ended, it waits no more for anything: the server
// goes on listening, to notice when the client goes away.
type patient struct {
	io.Reader
	rc   *http.ResponseController
	idle time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	p.rc.SetReadDeadline(time.Now().Add(p.idle)) // fails only where there is no connection
	n, err := p.Reader.Read(b)
	if err == io.EOF {
		p.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
