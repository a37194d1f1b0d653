// Tool is what the pods of the stories run.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	verb, args := os.Args[1], os.Args[2:]
	switch verb {
	case "serve": // answers on a TCP port with its name, and on the same UDP port too
		serve(args[0])
	case "crash": // writes something and ends with that exit code
		fmt.Println("about to crash")
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "wait": // does nothing until it is told to end
		wait()
	case "call": // calls each URL once a second and writes the answer
		for {
			for _, url := range args {
				fmt.Println(url, get(url))
			}
			time.Sleep(time.Second)
		}
	case "api": // asks the API for each path once a second, as the pod's service account, and as nobody for those after --
		for {
			askAPI(args)
			time.Sleep(time.Second)
		}
	case "fill": // writes a file of so many MiB, and waits
		size, _ := strconv.Atoi(args[1])
		err := os.WriteFile(args[0], make([]byte, size<<20), 0o644)
		fmt.Println(args[0], err)
		wait()
	case "follow": // prints files when they change
		follow(args)
	case "list": // prints what is below folders, with modes and owners, then waits
		for _, dir := range args {
			list(dir)
		}
		wait()
	case "lookup": // resolves each name once a second
		for {
			for _, name := range args {
				addrs, err := net.LookupHost(name)
				fmt.Println(name, addrs, err)
			}
			time.Sleep(time.Second)
		}
	case "write": // writes a file, then waits
		if err := os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		wait()
	case "await": // waits for files and prints them, then waits
		for _, path := range args {
			b, err := os.ReadFile(path)
			for ; err != nil; b, err = os.ReadFile(path) {
				time.Sleep(50 * time.Millisecond)
			}
			fmt.Println(path, strings.TrimSpace(string(b)), err)
		}
		wait()
	case "lines": // writes that many numbered lines, at 100 KB a second
		n, _ := strconv.Atoi(args[0])
		lines(n)
	case "load": // calls a URL every so often until it is told to end, and counts
		pace, err := time.ParseDuration(args[1])
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		load(args[0], pace)
	case "use": // uses so many MiB of memory, then waits
		mib, _ := strconv.Atoi(args[0])
		held := make([]byte, mib<<20)
		for i := range held {
			held[i] = byte(i) | 1
		}
		fmt.Println("holding", len(held)>>20, "MiB")
		wait()
		fmt.Println(held[0])
	case "multiply": // starts processes until it can start no more, and says how many there are
		multiply()
		wait()
	case "flood": // writes so many MiB to each of its streams, without a line break and with bytes that are no text, then waits
		mib, _ := strconv.Atoi(args[0])
		junk := bytes.Repeat([]byte{0, 0xff, 0x1b, '"', '\\', 'x', 0xc3}, 1<<17)
		for written := 0; written < mib<<20; written += len(junk) {
			os.Stdout.Write(junk)
			os.Stderr.Write(junk)
		}
		fmt.Println("\nflooded")
		wait()
	case "lastwords": // leaves so many MiB of bytes that are no text as its last words, and fails
		mib, _ := strconv.Atoi(args[0])
		fmt.Println(os.WriteFile("/dev/termination-log", bytes.Repeat([]byte("\xff\x00\xc3\x1b\""), mib<<20/5), 0o644))
		os.Exit(1)
	case "env": // prints its environment and files, then waits
		for _, e := range os.Environ() {
			fmt.Println(e)
		}
		for _, path := range args {
			b, err := os.ReadFile(path)
			fmt.Println(path, strings.TrimSpace(string(b)), err)
		}
		wait()
	case "note": // adds a line to a file
		note(args[0], args[1:]...)
	case "see": // fails unless a file is there
		if _, err := os.Stat(args[0]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "answer": // waits until a file is there, then adds a line to it
		for _, err := os.Stat(args[0]); err != nil; _, err = os.Stat(args[0]) {
			time.Sleep(10 * time.Millisecond)
		}
		note(args[0], args[1:]...)
	case "hold": // waits until it is told to end, and notes both in a file under a name
		hold(args[0], args[1])
	case "healthy": // answers gRPC health checks on a port, for a service
		healthy(args[0], args[1])
	case "say": // writes a file, something to its output too, and fails
		note(args[0], args[1:]...)
		fmt.Println("the last line")
		os.Exit(4)
	default:
		fmt.Fprintln(os.Stderr, "unknown verb", verb)
		os.Exit(2)
	}
}

// multiply starts copies of itself that wait.
func multiply() {
	for n := 0; ; n++ {
		c := exec.Command("/proc/self/exe", "wait")
		if err := c.Start(); err != nil {
			fmt.Println(n, "processes, then", err)
			return
		}
	}
}

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

// askAPI trusts the certificate that the pod was given, and no other.
func askAPI(paths []string) {
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		fmt.Println(err)
		return
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	token, err := os.ReadFile(account + "token")
	if err != nil {
		fmt.Println(err)
		return
	}
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	who := "account"
	for _, path := range paths {
		if path == "--" {
			who = "nobody"
			continue
		}
		r, _ := http.NewRequest(http.MethodGet, "https://kubernetes.default.svc"+path, nil)
		if who == "account" {
			r.Header.Set("Authorization", "Bearer "+string(token))
		}
		fmt.Println(who, path, answer(c.Do(r)))
	}
}

func follow(paths []string) {
	last := map[string]string{}
	for ; ; time.Sleep(20 * time.Millisecond) {
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if text := fmt.Sprintln(strings.TrimSpace(string(b)), err); text != last[path] {
				last[path] = text
				fmt.Print(path, " ", text)
			}
		}
	}
}

func list(dir string) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Println(path, err)
			return nil
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Println(path, info.Mode(), st.Uid, st.Gid)
		return nil
	})
}

func wait() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}

func serve(port string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name, _ := os.Hostname()
	go echo(port, name)
	s := &http.Server{Addr: ":" + port, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, name, r.RemoteAddr)
	})}
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(late)
	}()
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Println(err)
		os.Exit(1)
	}
}

func echo(port, name string) {
	c, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		c.WriteTo([]byte(name), from)
	}
}

// get returns the status and the beginning of the answer, or what went wrong.
func get(url string) string {
	c := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return answer(c.Get(url))
}

func answer(r *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(r.Body, 100))
	return r.Status + " " + strings.TrimSpace(string(b))
}
