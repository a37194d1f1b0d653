package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// check asks a program by the gRPC health protocol. A program answers for the service that the probe names, or as a whole.
func (a *asker) check(ctx context.Context, g *corev1.GRPCAction, address string) (bool, string) {
	secret := insecure.NewCredentials()
	if g.Mode != nil && *g.Mode == corev1.GRPCProbeModeTLS {
		secret = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}) // as documented, like HTTPS
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(secret), grpc.WithUserAgent(userAgent), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return a.dialer.DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		return false, err.Error()
	}
	defer conn.Close()
	var ask health.HealthCheckRequest
	if g.Service != nil {
		ask.Service = *g.Service
	}
	answer, err := health.NewHealthClient(conn).Check(ctx, &ask)
	switch {
	case status.Code(err) == codes.Unimplemented:
		return false, "this server does not implement the gRPC health protocol (grpc.health.v1.Health)"
	case err != nil:
		return false, fmt.Sprintf("gRPC health check of service %q failed: %s", ask.Service, status.Convert(err).Message())
	case answer.GetStatus() != health.HealthCheckResponse_SERVING:
		return false, fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus())
	}
	return true, ""
}
