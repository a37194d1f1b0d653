package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/pod"
)

const hookAgent = "kube-lifecycle/mainstay"

// RunHook does what a container's lifecycle hook says, and returns when that is done, has failed, or ctx ends.
func (p *Prober) RunHook(ctx context.Context, c pod.HookCall) error {
	switch h := c.Handler; {
	case h.Exec != nil:
		if ok, message := p.asker.run(ctx, c.ID, h.Exec.Command); !ok {
			return fmt.Errorf("command %q failed: %s", strings.Join(h.Exec.Command, " "), message)
		}
		return nil
	case h.HTTPGet != nil:
		return p.asker.call(ctx, c)
	case h.Sleep != nil:
		return sleep(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	}
	return errors.New("hooks run a command, ask by httpGet or sleep; tcpSocket is not one of these")
}

// call sends a hook's request. Any answer will do.
func (a *asker) call(ctx context.Context, c pod.HookCall) error {
	if c.Port == 0 {
		return errors.New("the hook names a port that the container does not have")
	}
	r, err := request(ctx, c.Handler.HTTPGet, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), hookAgent)
	if err != nil {
		return err
	}
	answer, err := a.client.Do(r)
	if err != nil && r.URL.Scheme == "https" && strings.Contains(err.Error(), http.ErrSchemeMismatch.Error()) {
		r.URL.Scheme = "http" // as Kubernetes has it, for hooks that were written when there was no HTTPS for them
		answer, err = a.client.Do(r)
	}
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
