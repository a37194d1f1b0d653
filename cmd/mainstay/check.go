package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/dataplane/bpf"
	"github.com/mainstay-gitops/mainstay/nodes/cgroup"
)

func newCheckCommand(at *place) *cobra.Command {
	var output string
	opts := defaultUpOptions()
	c := &cobra.Command{
		Use:   "check",
		Short: "Say what this machine lacks, each with the way to mend it",
		Example: `  mainstay check
  mainstay check -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.place = *at
			found := runChecks(opts)
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				if err := e.Encode(found); err != nil {
					return err
				}
			} else {
				t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
				for _, f := range found {
					fmt.Fprintf(t, "%s\t%s\t%s\n", f.mark(), f.Name, f.Found)
					if f.Mend != "" {
						fmt.Fprintf(t, "\t\t-> %s\n", f.Mend)
					}
				}
				t.Flush()
			}
			for _, f := range found {
				if !f.OK {
					return exitCode(1)
				}
			}
			return nil
		},
	}
	opts.flags(c)
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// A finding is what a check found. Mend is empty if there is nothing to mend.
type finding struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	Mend  string `json:"mend,omitempty"`
}

func (f finding) mark() string {
	if f.OK {
		return "ok"
	}
	return "MISSING"
}

// A check looks at one thing: what is there, or what is wrong with it. mend says how to get it.
type check struct {
	name string
	look func() (string, error)
	mend string
}

func runChecks(o *upOptions) []finding {
	var all []finding
	for _, c := range checks(o) {
		found, err := c.look()
		f := finding{Name: c.name, OK: err == nil, Found: found}
		if err != nil {
			f.Found, f.Mend = err.Error(), c.mend
		}
		all = append(all, f)
	}
	return all
}

func checks(o *upOptions) []check {
	all := []check{
		{"root", lookRoot, "run as root: sudo mainstay check"},
		{"kernel", lookKernel, "Linux 6.6 or newer is needed (tcx, BTF): apt-get install linux-image-amd64 from bookworm-backports"},
		{"BTF", lookFile("/sys/kernel/btf/vmlinux"), "a kernel built with CONFIG_DEBUG_INFO_BTF=y"},
		{"eBPF", lookBPF, "CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN are needed: in a container, run it privileged"},
		{"cgroups", lookCgroups, "mount the unified cgroup hierarchy: mount -t cgroup2 none /sys/fs/cgroup (or /sys/fs/cgroup/unified beside version 1)"},
		{"overlayfs", lookFilesystem("overlay"), "modprobe overlay"},
		{"runc", lookProgram("runc", "--version"), "apt-get install runc"},
		{"nftables", lookProgram("nft", "--version"), "apt-get install nftables"},
		{"git", lookProgram("git", "--version"), "apt-get install git (to push from this machine)"},
		{"data folder", func() (string, error) { return lookRoom(o.place.data) }, "1 GB must be free: choose another folder with --data, or make room"},
		{"API address", func() (string, error) { return lookAddress(o.place, o.api) }, "something listens there: choose another with --api 127.0.0.1:PORT"},
		{"Git address", func() (string, error) { return lookAddress(o.place, o.git) }, "something listens there: choose another with --git 127.0.0.1:PORT"},
	}
	if o.containerd == "" {
		return append(all, check{"containerd", lookProgram("containerd", "--version"), "apt-get install containerd"})
	}
	return append(all, check{"containerd", lookFile(o.containerd), "start containerd, or leave out --containerd: Mainstay then runs one itself"})
}

func lookRoot() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("this is not root")
	}
	return "yes", nil
}

func lookKernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return "", fmt.Errorf("cannot read the version %q", release)
	}
	if major < 6 || major == 6 && minor < 6 {
		return "", fmt.Errorf("the kernel, Linux %s, is too old", release)
	}
	return "Linux " + release, nil
}

func lookFile(path string) func() (string, error) {
	return func() (string, error) {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s is not there", path)
		}
		return path, err
	}
}

// lookBPF tries the one system call that everything rests on: it makes a map.
func lookBPF() (string, error) {
	if err := bpf.Probe(); err != nil {
		return "", err
	}
	return "yes", nil
}

func lookCgroups() (string, error) {
	t, err := cgroup.Open()
	if err != nil {
		return "", err
	}
	if t.V2() {
		return "version 2", nil
	}
	return "version 1, with the unified hierarchy beside it", nil
}

func lookFilesystem(name string) func() (string, error) {
	return func() (string, error) {
		b, err := os.ReadFile("/proc/filesystems")
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == name {
				return "yes", nil
			}
		}
		return "", fmt.Errorf("the kernel has no %s now", name)
	}
}

func lookProgram(name string, args ...string) func() (string, error) {
	return func() (string, error) {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s is not in PATH", name)
		}
		out, err := exec.Command(path, args...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", path, strings.Join(args, " "), err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line), nil
	}
}

// lookRoom looks at the nearest folder that is there.
func lookRoom(dir string) (string, error) {
	const need = 1 << 30
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := abs; ; at = filepath.Dir(at) {
		var st unix.Statfs_t
		err := unix.Statfs(at, &st)
		if errors.Is(err, fs.ErrNotExist) && at != "/" {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", at, err)
		}
		free := st.Bavail * uint64(st.Bsize)
		if free < need {
			return "", fmt.Errorf("%s has only %d MB free", abs, free>>20)
		}
		return fmt.Sprintf("%s, %d GB free", abs, free>>30), nil
	}
}

// lookAddress tells whether an address is free, or taken by this Mainstay itself.
func lookAddress(p place, addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		l.Close()
		return addr + " is free", nil
	}
	if e, running := p.running(); running && (strings.Contains(e.API, addr) || strings.Contains(e.Git, addr)) {
		return addr + " is this Mainstay's, which is up", nil
	}
	return "", err
}
