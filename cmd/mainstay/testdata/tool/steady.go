package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lines writes that many numbered lines of 100 bytes, one each millisecond.
func lines(n int) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := range n {
		fmt.Printf("%099d\n", i)
		<-pace.C
	}
}

// load waits for a first answer, and makes a request on a connection of its own every pace then until it is told to end,
// with two clients. It writes how many it made, how many of these failed, and what became of the last of these, after each
// 100.
func load(url string, pace time.Duration) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for request(client, url) != nil && ctx.Err() == nil {
		time.Sleep(pace)
	}
	var calls, failed atomic.Int64
	var last atomic.Value // what became of the last that failed
	last.Store("")
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			tick := time.NewTicker(2 * pace)
			defer tick.Stop()
			for ; ctx.Err() == nil; <-tick.C {
				if err := request(client, url); err != nil {
					failed.Add(1)
					last.Store(fmt.Sprintf(", at %s: %v", time.Now().Format(time.RFC3339Nano), err))
				}
				if n := calls.Add(1); n%100 == 0 {
					fmt.Printf("%d calls, %d failed%s\n", n, failed.Load(), last.Load())
				}
			}
		})
	}
	wg.Wait()
}

func request(client *http.Client, url string) error {
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", r.Status)
	}
	return nil
}
