// Command prog runs a script (see package script) in the containers of runtime tests.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest/script"
)

func main() {
	steps, err := script.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "prog:", err)
		os.Exit(2)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	go func() {
		s := <-signals
		os.Exit(128 + int(s.(syscall.Signal)))
	}()
	for _, s := range steps {
		if err := run(s); err != nil {
			fmt.Fprintln(os.Stderr, "prog:", err)
		}
	}
}

func run(s script.Step) error {
	switch s.Verb {
	case script.Print:
		fmt.Println(s.Text)
	case script.Eprint:
		fmt.Fprintln(os.Stderr, s.Text)
	case script.Lines:
		w := bufio.NewWriter(os.Stdout)
		defer w.Flush()
		for i := range s.N {
			w.WriteString(script.Line(i))
		}
	case script.Paced:
		for i := range s.N {
			os.Stdout.WriteString(script.Line(i))
			time.Sleep(time.Millisecond)
		}
	case script.Env:
		fmt.Println(os.Getenv(s.Text))
	case script.Sleep:
		time.Sleep(s.For)
	case script.Wait:
		select {}
	case script.Exit:
		os.Exit(s.N)
	case script.Stubborn:
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	case script.Hog:
		hog()
	case script.Copy:
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	default:
		return look(s)
	}
	return nil
}

// look runs the steps that tell how the container was set up.
func look(s script.Step) error {
	switch s.Verb {
	case script.Workdir:
		dir, err := os.Getwd()
		fmt.Println(dir)
		return err
	case script.ID:
		groups, err := os.Getgroups()
		fmt.Println(strings.Trim(fmt.Sprint(append([]int{os.Getuid(), os.Getgid()}, groups...)), "[]"))
		return err
	case script.Host:
		name, err := os.Hostname()
		fmt.Println(name)
		return err
	case script.Status:
		return status(s.Text)
	case script.Cat:
		data, err := os.ReadFile(s.Text)
		os.Stdout.Write(data)
		return err
	case script.Write:
		return os.WriteFile(s.Text, []byte("x"), 0o644)
	case script.Size:
		return size()
	case script.Ps:
		return ps()
	case script.Link:
		to, err := os.Readlink(s.Text)
		fmt.Println(to)
		return err
	case script.Mount:
		return unix.Mount("test", s.Text, "tmpfs", 0, "size=64k")
	case script.Child:
		return exec.Command("/proc/self/exe", s.Text).Run()
	case script.Fork:
		cmd := exec.Command("/proc/self/exe", script.Wait)
		cmd.Stdout = os.Stdout
		return cmd.Start()
	}
	return nil
}

func status(field string) error {
	data, err := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			fmt.Println(strings.TrimSpace(value))
		}
	}
	return err
}

func ps() error {
	var pids []int
	entries, err := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		fmt.Println(strings.TrimSpace(strings.ReplaceAll(string(data), "\x00", " ")))
	}
	return err
}

func size() error {
	for {
		ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return err
		}
		if ws.Col != 0 {
			fmt.Println(ws.Col, ws.Row)
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

func hog() {
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) > 1<<12 { // 4 GiB: nothing limits it
			os.Exit(1)
		}
	}
}
