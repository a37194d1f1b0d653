package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os/exec"
)

// A plainServer is what Mainstay's push server is compared with: a bare repository behind git http-backend. It asks for no
// token, and does nothing with what it gets but keep it.
type plainServer struct {
	*http.Server
	url string // of the repository
}

// servePlain makes an empty repository with a name that is new in this run, and serves it until it is closed.
func servePlain(ctx context.Context, b *bench, name string) (*plainServer, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	root := b.path(name)
	for _, args := range [][]string{
		{"init", "-q", "--bare", "-b", "main", root + "/plain.git"},
		{"--git-dir", root + "/plain.git", "config", "http.receivepack", "true"},
		{"--git-dir", root + "/plain.git", "config", "receive.autogc", "false"},
	} {
		c := exec.CommandContext(ctx, git, args...)
		c.Env = b.environment()
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("git %v: %w\n%s", args, err, out)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + b.dir},
	}}
	go server.Serve(l) // until Close
	return &plainServer{server, "http://" + l.Addr().String() + "/plain.git"}, nil
}
