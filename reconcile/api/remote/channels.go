package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// The WebSocket protocols of commands, with whether the end is told as a status and whether messages are binary. Only in v5
// can a client end stdin and stay.
var protocols = []struct {
	name           string
	status, binary bool
}{
	{remotecommand.StreamProtocolV5Name, true, true},
	{remotecommand.StreamProtocolV4Name, true, true},
	{"v4.base64.channel.k8s.io", true, false},
	{"channel.k8s.io", false, true},
	{"base64.channel.k8s.io", false, false},
	{"", false, true},
}

// channels says which way the channels go, as the server sees it.
func channels(want Wanted) []wsstream.ChannelType {
	all := []wsstream.ChannelType{
		remotecommand.StreamErr:    wsstream.WriteChannel,
		remotecommand.StreamResize: wsstream.IgnoreChannel,
	}
	for n, c := range map[int]struct {
		wanted bool
		way    wsstream.ChannelType
	}{
		remotecommand.StreamStdIn:  {want.Stdin, wsstream.ReadChannel},
		remotecommand.StreamStdOut: {want.Stdout, wsstream.WriteChannel},
		remotecommand.StreamStdErr: {want.Stderr, wsstream.WriteChannel},
		remotecommand.StreamResize: {want.TTY, wsstream.ReadChannel},
	} {
		if c.wanted {
			all[n] = c.way
		}
	}
	return all
}

// serveChannels serves a command over one WebSocket, of which each message begins with the number of its channel.
func serveChannels(h *hijacked, r *http.Request, c command) {
	config := map[string]wsstream.ChannelProtocolConfig{}
	for _, p := range protocols {
		config[p.name] = wsstream.ChannelProtocolConfig{Binary: p.binary, Channels: channels(c.want)}
	}
	ws := wsstream.NewConn(config)
	ws.SetIdleTimeout(idleFor)
	protocol, streams, err := ws.Open(h, r)
	if err != nil {
		return // the client was told
	}
	defer ws.Close()
	if protocol != remotecommand.StreamProtocolV5Name && greet(c.want, streams) != nil {
		return
	}
	err = c.run(r.Context(), opened(r.Context(), c.want, streams))
	ws.SetWriteDeadline(statusWrite)
	_, _ = streams[remotecommand.StreamErr].Write(lastWord(protocol, c.doing, err)) // unless the client has gone
}

// greet says that the streams are open, by an empty message, for which clients before v5 wait. Later ones may not have
// made their own ends yet, and would wonder.
func greet(want Wanted, streams []io.ReadWriteCloser) error {
	first := streams[remotecommand.StreamErr]
	switch {
	case want.Stdout:
		first = streams[remotecommand.StreamStdOut]
	case want.Stderr:
		first = streams[remotecommand.StreamStdErr]
	}
	_, err := first.Write(nil)
	return err
}

func opened(ctx context.Context, want Wanted, streams []io.ReadWriteCloser) Streams {
	s := Streams{TTY: want.TTY}
	if want.Stdin {
		s.Stdin = streams[remotecommand.StreamStdIn]
	}
	if want.Stdout {
		s.Stdout = streams[remotecommand.StreamStdOut]
	}
	if want.Stderr {
		s.Stderr = streams[remotecommand.StreamStdErr]
	}
	if want.TTY {
		s.Resize = sizes(ctx, streams[remotecommand.StreamResize])
	}
	return s
}

// sizes reads the sizes of a terminal, until ctx or the stream ends, or makes no sense any more.
func sizes(ctx context.Context, r io.Reader) <-chan Size {
	out := make(chan Size)
	go func() {
		defer close(out)
		for d := json.NewDecoder(r); ; {
			var s Size
			if d.Decode(&s) != nil {
				_, _ = io.Copy(io.Discard, r) // or it would hold up the other streams
				return
			}
			select {
			case out <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// lastWord is what is written to the error stream at the end.
func lastWord(protocol, doing string, err error) []byte {
	status := metav1.Status{Status: metav1.StatusSuccess}
	exit, exited := errors.AsType[*ExitError](err)
	switch {
	case exited:
		status = exitStatus(exit)
	case err != nil:
		status = apierrors.NewInternalError(fmt.Errorf("error %s: %w", doing, err)).Status()
	}
	for _, p := range protocols {
		if p.name == protocol && !p.status {
			return []byte(status.Message)
		}
	}
	text, err := json.Marshal(status)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

// exitStatus says that a command has failed, in the words that kubectl reads its exit code from.
func exitStatus(e *ExitError) metav1.Status {
	return metav1.Status{
		Status: metav1.StatusFailure,
		Reason: remotecommand.NonZeroExitCodeReason,
		Details: &metav1.StatusDetails{
			Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(e.Code)}},
		},
		Message: "command terminated with non-zero exit code: " + e.Error(),
	}
}
