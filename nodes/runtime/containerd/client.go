// Package containerd is the runtime of a node on containerd, from 1.6 on: its server, sandboxes and containers, and
// images. There is no pause container: a pod's namespaces are files under the run folder, which its containers join, and a
// pod has one shim.
package containerd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/defaults"
	"github.com/containerd/containerd/namespaces"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// A Client is a connection to a containerd, in one of its namespaces. While containerd is away, calls wait for it, as long
// as their context lets them.
type Client struct {
	*containerd.Client
	conn      *grpc.ClientConn
	socket    string
	namespace string
}

// Connect returns when containerd answers, or with an error when ctx ends.
func Connect(ctx context.Context, socket, namespace string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 3 * time.Millisecond, Multiplier: 1.3, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true),
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", socket, err)
	}
	c := &Client{conn: conn, socket: socket, namespace: namespace}
	if c.Client, err = containerd.NewWithConn(conn); err == nil {
		_, err = c.VersionService().Version(ctx, &emptypb.Empty{})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to containerd at %s: %w", socket, err)
	}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// in has calls made in the client's namespace.
func (c *Client) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, c.namespace)
}
