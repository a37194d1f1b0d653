package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/store/seal"
)

// rotatePath is where the API of a running Mainstay takes a new key for Secrets.
const rotatePath = "/mainstay/secrets/rotate"

// secretKeys is the file of the keys that Secrets are encrypted with.
func (p place) secretKeys() string { return p.under("keys", "secrets") }

// codec is what is kept of objects: Secrets are encrypted. keys is seal.Load, or seal.Look for who changes nothing.
func (p place) codec(s *scheme.Scheme, keys func(path string) (*seal.Keys, error)) (seal.Codec, error) {
	k, err := keys(p.secretKeys())
	return seal.Codec{Plain: s.Codec(), Keys: k}, err
}

func newSecretsCommand(at *place) *cobra.Command {
	c := &cobra.Command{Use: "secrets", Short: "Look after how Secrets are kept"}
	c.AddCommand(&cobra.Command{
		Use:   "rotate",
		Short: "Encrypt all Secrets with a new key; Mainstay may be up or not",
		Long: `Secrets are encrypted in the store and in backups (AES-256-GCM). The keys are in DATA/keys/secrets, which may be a link to another
disk; the first one encrypts. This makes a new first key, and encrypts with it all that is stored: at once if Mainstay is up, else
when it starts. Earlier keys are kept in the file, for backups that were taken with them: remove their lines when those are gone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := rotate(cmd.Context(), *at, cmd.OutOrStdout()); err != nil {
				return fmt.Errorf("rotate the keys of Secrets: %w", err)
			}
			return nil
		},
	})
	return c
}

func rotate(ctx context.Context, at place, out io.Writer) error {
	if _, up := at.running(); up {
		return askToRotate(ctx, at, out)
	}
	if _, err := os.Stat(at.under("store")); err != nil {
		return fmt.Errorf("nothing is stored in %s: name the data folder with --data", at.data)
	}
	k, err := seal.Load(at.secretKeys())
	if err == nil {
		err = k.Rotate()
	}
	if err == nil {
		fmt.Fprintf(out, "there is a new key; Secrets are encrypted with it at the next mainstay up\n")
	}
	return err
}

func askToRotate(ctx context.Context, at place, out io.Writer) error {
	c, err := connect(at)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.Host+rotatePath, nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return unreachable(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}

// rotateHandler makes a new key, and answers when all Secrets are encrypted with it.
func rotateHandler(c *controlPlane) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.Error(w, "only POST", http.StatusMethodNotAllowed)
			return
		}
		err := c.codec.Keys.Rotate()
		n := 0
		if err == nil {
			n, err = c.reseal(context.WithoutCancel(r.Context()))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%d Secrets are encrypted with a new key; %d keys are kept for what is older\n", n, c.codec.Keys.Count()-1)
	})
}

// reseal encrypts what is not encrypted, or with an earlier key, and returns how many Secrets it was.
func (c *controlPlane) reseal(ctx context.Context) (int, error) {
	return c.backend.Rewrite(ctx, seal.Secret, c.codec.Outdated)
}

// sealSecrets encrypts what an earlier Mainstay has not, and what a rotation that was cut short has left.
func (h *house) sealSecrets(ctx context.Context) error {
	n, err := h.control.reseal(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		h.log.Error("not all stored Secrets are encrypted with the newest key: it is tried again at the next start", "error", err)
	}
	if n > 0 {
		h.log.Info("stored Secrets were encrypted", "secrets", n)
	}
	return nil
}
