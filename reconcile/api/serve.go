package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	headersWithin = 32 * time.Second
	idleFor       = 90 * time.Second
	drainWithin   = 2 * time.Second
	sweepEach     = time.Minute

	maxStreams = 100       // requests at once on a connection
	maxFrame   = 256 << 10 // most objects fit
)

// Run serves until ctx ends, then lets go of everybody quickly: watches and followed logs are ended at once, other requests
// may finish within two seconds. It returns nil then, and closes the listeners whatever it returns.
func (s *Server) Run(ctx context.Context) error {
	defer s.generic.Destroy()
	open := &conns{}
	server := s.server(open)
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.Listeners {
		g.Go(func() error {
			if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve the API on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error { return s.sweep(ctx) })
	g.Go(func() error { return s.custom.Run(ctx) })
	g.Go(func() error { return s.others.Run(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		close(s.closing)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
		defer cancel()
		open.drain()
		if server.Shutdown(late) != nil {
			_ = server.Close() // who is still there has had its time
		}
		return nil
	})
	err := g.Wait()
	if s.audited != nil {
		err = errors.Join(err, s.audited.Close())
	}
	return err
}

func (s *Server) server(open *conns) *http.Server {
	serving := s.Authority.Serving(s.hosts(), s.Now)
	return &http.Server{
		Handler: s.generic.Handler,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: serving.GetCertificate,
			ClientAuth:     tls.RequestClientCert, // the authenticator verifies it
			ClientCAs:      s.Authority.Pool(),
		},
		ReadHeaderTimeout: headersWithin,
		IdleTimeout:       idleFor,
		MaxHeaderBytes:    1 << 20,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              maxFrame,
			MaxReceiveBufferPerStream:     maxFrame,
			MaxReceiveBufferPerConnection: maxFrame * maxStreams,
		},
		ConnState: open.changed,
		ErrorLog:  slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // clients that do not trust us, for the most part
	}
}

// hosts are all names that pods and people use for the API.
func (s *Server) hosts() []string {
	all := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	all = append(all, s.Hosts...)
	for _, l := range s.Listeners {
		if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
			all = append(all, host)
		}
	}
	return all
}

// sweep removes what has had its time, until ctx ends.
func (s *Server) sweep(ctx context.Context) error {
	ticker := time.NewTicker(sweepEach)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.registry.Sweep()
			if err := expire(ctx, s.Store, s.Now()); err != nil && ctx.Err() == nil {
				s.Log.Warn("old events cannot be removed", "err", err)
			}
		}
	}
}
