package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// note adds a line to a file.
func note(file string, words ...string) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer f.Close()
	fmt.Fprintln(f, strings.Join(words, " "))
}

// hold notes that it begins, and which signal ended it.
func hold(file, name string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGUSR1)
	note(file, name, "begins")
	note(file, name, "ends by", (<-c).String())
}

// healthy answers gRPC health checks for a service.
func healthy(port, service string) {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	h := health.NewServer()
	h.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, h)
	go func() {
		wait()
		s.Stop()
	}()
	if err := s.Serve(l); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
