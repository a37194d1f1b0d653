package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// helperArg as the first argument makes this test program one of the helpers that stories run in their world.
const helperArg = "-story-helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helperArg {
		if err := help(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func help(verb string, args []string) error {
	switch verb {
	case "load":
		return helpLoad(args[0])
	case "git":
		return helpGit(args[0], args[1])
	case "registry":
		return helpRegistry(args[0], args[1], args[2:]...)
	case "hook":
		return helpHook(args[0], args[1])
	case "call":
		return helpCall(args[0])
	case "watch":
		return helpWatch()
	}
	return fmt.Errorf("no such helper: %s", verb)
}

// helpLoad calls url with two clients, each call on a connection of its own, until it is interrupted. It writes a line for
// each 50 calls and for each that failed, and a last one with both counts. Each client makes at most 200 calls a second, or
// the connections that linger would take all ports.
func helpLoad(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}
	var calls, failed atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for ; ctx.Err() == nil; <-pace.C {
				if err := callOnce(client, url); err != nil {
					failed.Add(1)
					fmt.Println(time.Now().Format(time.RFC3339Nano), err)
				}
				if n := calls.Add(1); n%50 == 0 {
					fmt.Println(n, "calls")
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d calls, %d failed\n", calls.Load(), failed.Load())
	return nil
}

// helpHook sends what a forge sends after a push.
func helpHook(source, secret string) error {
	body := []byte(`{"ref":"refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	req, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:7420/hooks/"+source, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusAccepted {
		return fmt.Errorf("%s", r.Status)
	}
	return nil
}

// helpWatch watches ConfigMaps until it has seen 100 new ones. It cuts the watch after 1, 2 and 50 of them, and resumes it
// after the last that it saw.
func helpWatch() error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfStories)
	defer cancel()
	list, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	fmt.Println("watching")
	cutAt := map[int]bool{1: true, 2: true, 50: true}
	at, first, last, cuts, seen := list.ResourceVersion, uint64(0), uint64(0), 0, map[string]bool{}
	for len(seen) < 100 {
		w, err := client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: at})
		if err != nil {
			return err
		}
		for e := range w.ResultChan() {
			o, ok := e.Object.(*corev1.ConfigMap)
			if !ok || e.Type != watch.Added || seen[o.Name] {
				return fmt.Errorf("unexpected: %s %v", e.Type, e.Object)
			}
			seen[o.Name], at = true, o.ResourceVersion
			if last, err = strconv.ParseUint(at, 10, 64); err != nil {
				return err
			}
			if len(seen) == 1 {
				first = last
			}
			if cutAt[len(seen)] {
				cuts++
				break
			}
			if len(seen) == 100 {
				break
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("only %d objects came: %w", len(seen), ctx.Err())
		}
	}
	fmt.Printf("%d objects, in %d consecutive revisions, after %d cuts\n", len(seen), last-first+1, cuts)
	return nil
}

// helpCall makes one call, and writes the answer.
func helpCall(url string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	_, err = io.Copy(os.Stdout, r.Body)
	return err
}

func callOnce(client *http.Client, url string) error {
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

// helpRegistry serves a registry that has the image of an archive, under the name of its file: hello-v1.tar is hello:v1.
// With a login nobody else is let in.
func helpRegistry(archive, addr string, login ...string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var auth authn.Authenticator = authn.Anonymous
	if len(login) > 0 {
		user, password, _ := strings.Cut(login[0], ":")
		auth, serve = &authn.Basic{Username: user, Password: password}, locked(serve, user, password)
	}
	go func() { done <- http.Serve(l, serve) }()
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return err
	}
	repository, tag, _ := strings.Cut(strings.TrimSuffix(filepath.Base(archive), ".tar"), "-")
	ref, err := name.NewTag(addr + "/" + repository + ":" + tag)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, image, remote.WithAuth(auth)); err != nil {
		return err
	}
	fmt.Println("serving", l.Addr())
	return <-done
}

// locked lets in who knows the password.
func locked(next http.Handler, user, password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="story"`)
			http.Error(w, "who is it?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// helpGit serves the repositories below dir with git http-backend.
func helpGit(dir, addr string) error {
	git, err := exec.LookPath("git")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("serving", l.Addr())
	return http.Serve(l, &cgi.Handler{Path: git, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}})
}
