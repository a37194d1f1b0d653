package receive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
)

// The bands of an answer, which Git's client takes apart.
const (
	bandData     = 1
	bandProgress = 2
)

// maxBand is how many bytes go into one packet, with the band.
const maxBand = 65515

// An answer goes to the client at once, packet by packet. It is safe for concurrent use.
type answer struct {
	mu   sync.Mutex
	w    io.Writer
	rc   *http.ResponseController
	idle time.Duration
	side bool // the client can tell bands apart; else there is data only
	last time.Time
}

// packet writes to a band.
func (a *answer) packet(band byte, data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = time.Now()
	a.rc.SetWriteDeadline(a.last.Add(a.idle)) // fails only where there is no connection
	if !a.side {
		if band != bandData {
			return nil
		}
		_, err := a.w.Write(data)
		return err
	}
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), maxBand-1)
		if _, err := fmt.Fprintf(a.w, "%04x%c%s", n+5, band, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// flush sends what was written.
func (a *answer) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rc.Flush()
}

// end tells the client that there is no more.
func (a *answer) end() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.side {
		if _, err := a.w.Write(pktline.FlushPkt); err != nil {
			return err
		}
	}
	return a.rc.Flush()
}

// alive sends a sign of life whenever nothing was sent for so long, until the function that it returns is called.
func (a *answer) alive(ctx context.Context, every time.Duration) (stop func()) {
	if !a.side {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				a.beat(every)
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (a *answer) beat(every time.Duration) {
	a.mu.Lock()
	quiet := time.Since(a.last) >= every
	a.mu.Unlock()
	if quiet && a.packet(bandData, nil) == nil {
		a.flush()
	}
}

// data is the band that the client's Git reads.
func (a *answer) data() io.Writer { return bandWriter{a, bandData} }

// progress is the band that the client shows to the user, each line behind "remote: ". What a terminal would obey is
// taken out, and each write is sent at once.
func (a *answer) progress() io.Writer { return bandWriter{a, bandProgress} }

type bandWriter struct {
	answer *answer
	band   byte
}

func (b bandWriter) Write(p []byte) (int, error) {
	data := p
	if b.band == bandProgress {
		data = harmless(p)
	}
	if err := b.answer.packet(b.band, data); err != nil {
		return 0, err
	}
	if b.band == bandProgress {
		b.answer.flush()
	}
	return len(p), nil
}

// harmless replaces control characters but those that move along the text.
func harmless(p []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, p)
}

// report is what a push has come to, in Git's words: each ref, and "" or the reason why not.
func report(unpack string, refs []string, reasons []string) []byte {
	var b bytes.Buffer
	e := pktline.NewEncoder(&b)
	if unpack == "" {
		unpack = "ok"
	}
	e.Encodef("unpack %s\n", unpack)
	for i, ref := range refs {
		if reasons[i] == "" {
			e.Encodef("ok %s\n", ref)
		} else {
			e.Encodef("ng %s %s\n", ref, reasons[i])
		}
	}
	e.Flush()
	return b.Bytes()
}

// maxReason is what still reads well behind a branch.
const maxReason = 300

// reason is the first line of an error, as Git shows it in parentheses.
func reason(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	line = strings.TrimSuffix(printable(line), ":")
	if len(line) > maxReason {
		line = strings.ToValidUTF8(line[:maxReason], "") + "..."
	}
	if line == "" {
		return "refused"
	}
	return line
}
