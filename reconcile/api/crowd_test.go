package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// crowdOf makes the test program a crowd of clients of the API that this kubeconfig is of: its value is the file and a
// crowd, in JSON.
const crowdOf = "MAINSTAY_TEST_CROWD_OF"

// fullCrowd has the test come with as many as a node should stand.
const fullCrowd = "MAINSTAY_TEST_FULL_CROWD"

// A crowd is who comes.
type crowd struct {
	Kubeconfig string
	Silent     int // connections on which nothing is said
	Halting    int // those that stop in the middle of a header
	Dripping   int // those that stop in the middle of a body
	Watchers   int
}

// gather opens all of it, says so, and answers each line with the number of events that its watchers have seen.
func (c crowd) gather() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return err
	}
	at, err := url.Parse(config.Host)
	if err != nil {
		return err
	}
	secure, err := rest.TLSConfigFor(config)
	if err != nil {
		return err
	}
	secure.NextProtos = []string{"http/1.1"}
	var open []net.Conn // or they would be collected, and closed
	for range c.Silent {
		conn, err := net.Dial("tcp", at.Host)
		if err != nil {
			return err
		}
		open = append(open, conn)
	}
	for i := range c.Halting + c.Dripping {
		conn, err := tls.Dial("tcp", at.Host, secure)
		if err != nil {
			return err
		}
		said := "GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nX-Slow: "
		if i >= c.Halting {
			said = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"metadata\":"
		}
		if _, err := io.WriteString(conn, said); err != nil {
			return err
		}
		open = append(open, conn)
	}
	var seen atomic.Int64
	if err := c.watch(config, &seen); err != nil {
		return err
	}
	fmt.Println("here")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(seen.Load())
	}
	return errors.New(fmt.Sprint("the test is gone: ", len(open)))
}

// watch opens the watches, 90 on a connection, and returns when each has been answered.
func (c crowd) watch(config *rest.Config, seen *atomic.Int64) error {
	var client *http.Client
	for i := range c.Watchers {
		if i%90 == 0 {
			own := rest.CopyConfig(config)
			own.Dial = (&net.Dialer{}).DialContext // clients that dial by themselves share no connection
			var err error
			if client, err = rest.HTTPClientFor(own); err != nil {
				return err
			}
		}
		r, err := http.NewRequestWithContext(context.Background(), "GET", config.Host+"/api/v1/namespaces/default/configmaps?watch=1&labelSelector=seen", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return errors.New(answer.Status)
		}
		go func() {
			for d := json.NewDecoder(answer.Body); d.Decode(&metav1.WatchEvent{}) == nil; {
				seen.Add(1)
			}
		}()
	}
	return nil
}

func TestACrowdOfSlowClientsStarvesNobody(t *testing.T) {
	c := serve(t)
	who := crowd{Kubeconfig: c.kubeconfig(t), Silent: 400, Halting: 200, Dripping: 100, Watchers: 270}
	if os.Getenv(fullCrowd) != "" {
		who = crowd{Kubeconfig: who.Kubeconfig, Silent: 3000, Halting: 1900, Dripping: 100, Watchers: 2000}
	}
	before := openFiles(t)
	text, err := json.Marshal(who)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crowdOf+"="+string(text))
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "here" {
		t.Fatalf("the crowd does not come: %q, %v", lines.Text(), child.Wait())
	}

	maps := c.client(t).CoreV1().ConfigMaps("default")
	const made = 10
	for i := range made {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i), Labels: map[string]string{"seen": "yes"}}}
		if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if list, err := maps.List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != i+1 {
			t.Fatalf("%d items, %v", len(list.Items), err)
		}
	}
	eventually(t, "each watcher has seen each object", func() bool {
		_, _ = io.WriteString(in, "\n")
		n := 0
		if lines.Scan() {
			_, _ = fmt.Sscan(lines.Text(), &n)
		}
		return n == made*who.Watchers
	})
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	eventually(t, "what the crowd took is given back", func() bool { return openFiles(t) < before+50 })
}

// openFiles is how many descriptors this process has.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
