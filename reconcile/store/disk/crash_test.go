package disk

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

var (
	errLost = errors.New("lost")
	errHalf = errors.New("half-applied")
)

// A verdict counts what rounds of harm have cost.
type verdict struct {
	rounds, lost, half int
	notes              []string
}

// judge counts a round that ended with err. Damage that is told where none should be is a loss.
func (v *verdict) judge(t *testing.T, err error) {
	t.Helper()
	v.rounds++
	if err == nil {
		return
	}
	t.Errorf("round %d: %v", v.rounds, err)
	if errors.Is(err, errHalf) {
		v.half++
	} else {
		v.lost++
	}
}

func (v *verdict) clean() bool { return v.lost+v.half == 0 }

func (v *verdict) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

func (v *verdict) String() string {
	return fmt.Sprintf("%d rounds, %d lost, %d half-applied", v.rounds, v.lost, v.half)
}

// TestCrash harms the store in every way that there is, and compares what is left with a model: a few rounds of each, or a
// share of ROUNDS in the environment. make crash runs it.
func TestCrash(t *testing.T) {
	kinds := []struct {
		name   string
		do     func(*testing.T, int) verdict
		rounds int  // without ROUNDS
		share  int  // of ROUNDS, one in so many
		root   bool // mounts
	}{
		{"kill -9 under load", killRounds, 16, 1, false},
		{"kill -9 in large transactions", killLarge, 2, 10, false},
		{"damaged files", damageRounds, 16, 1, false},
		{"power cuts", powerRounds, 4, 4, true},
		{"full disks", fullRounds, 1, 20, true},
	}
	n, err := strconv.Atoi(os.Getenv("ROUNDS"))
	if err != nil && os.Getenv("ROUNDS") != "" {
		t.Fatal("ROUNDS:", err)
	}
	if os.Getuid() == 0 && !inMountNamespace(t) {
		return
	}
	var all verdict
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			if k.root && os.Getuid() != 0 {
				if os.Getenv("MAINSTAY_TEST_ROOT") == "1" {
					t.Fatal("needs root: it mounts")
				}
				t.Skip("needs root: it mounts")
			}
			if n > 0 {
				k.rounds = max(1, n/k.share)
			}
			v := k.do(t, k.rounds)
			fmt.Printf("%-30s %s (%s)\n", k.name, &v, strings.Join(v.notes, "; "))
			all.rounds, all.lost, all.half = all.rounds+v.rounds, all.lost+v.lost, all.half+v.half
		})
	}
	fmt.Println(&all)
	if !all.clean() {
		t.Error(&all)
	}
}

const insideNamespace = "MAINSTAY_STORE_INSIDE"

// inMountNamespace runs the test in a process with mounts of its own, which end with it in any case, and tells whether it is
// that process.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNamespace) != "" {
		return true
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.timeout=0"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), insideNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	for s := bufio.NewScanner(out); s.Scan(); {
		if ended = s.Text() == "PASS"; !ended {
			fmt.Println(s.Text())
		}
	}
	if err := cmd.Wait(); err != nil || !ended {
		t.Errorf("the process with mounts of its own: %v", err)
	}
	return false
}
