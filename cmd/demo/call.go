package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// gateway answers DNS for the cluster; the demo's node has the first range.
const gateway = "10.42.0.1:53"

// call makes one request on a connection of its own, and resolves names as a pod would.
func call(ctx context.Context, url string) (string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, gateway)
	}}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Resolver: resolver}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return string(body), err
}
