package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/mount"
	"github.com/containerd/containerd/snapshots"
	"golang.org/x/sys/unix"

	passwd "github.com/moby/sys/user"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// user is who a container runs as.
type user struct {
	uid, gid uint32
	groups   []uint32
}

// accounts are the users and groups that an image knows.
type accounts struct{ passwd, group []byte }

// lookUp finds a user as an image's config names it: "", "name", "uid", each with ":group" or without.
func (a accounts) lookUp(name string) (user, error) {
	u, err := passwd.GetExecUser(name, nil, strings.NewReader(string(a.passwd)), strings.NewReader(string(a.group)))
	if err != nil {
		return user{}, &runtime.ConfigError{Reason: fmt.Sprintf("user %q: %v", name, err)}
	}
	out := user{uid: uint32(u.Uid), gid: uint32(u.Gid)}
	for _, g := range u.Sgids {
		out.groups = append(out.groups, uint32(g))
	}
	return out, nil
}

// userOf is the user that a container asks for, or else its image's.
func userOf(s runtime.Security, imageUser string, a accounts) (user, error) {
	name := imageUser
	if s.UID != nil {
		name = strconv.FormatInt(*s.UID, 10)
	}
	u, err := a.lookUp(name)
	if err != nil {
		return user{}, err
	}
	if s.GID != nil {
		u.gid = uint32(*s.GID)
	}
	if s.StrictGroups {
		u.groups = nil
	}
	for _, g := range s.Groups {
		u.groups = append(u.groups, uint32(g))
	}
	slices.Sort(u.groups)
	u.groups = slices.Compact(u.groups)
	if s.RunAsNonRoot && u.uid == 0 {
		return user{}, &runtime.ConfigError{Reason: "runAsNonRoot is set and the container would run as user 0; set runAsUser"}
	}
	return u, nil
}

// lookPrefix begins the name of a view of an image, which is also that of the folder where it is mounted.
const lookPrefix = "look."

// readAccounts reads the accounts of an image from a view of its files, which is mounted for that moment.
func (r *Runtime) readAccounts(ctx context.Context, chain string) (a accounts, err error) {
	key := lookPrefix + rand.Text()
	mounts, err := r.snapshots.View(ctx, key, chain, snapshots.WithLabels(keep()))
	if err != nil {
		return a, fmt.Errorf("look into image: %w", err)
	}
	defer func() { err = errors.Join(err, r.snapshots.Remove(ctx, key)) }()
	dir := filepath.Join(r.cfg.RunDir, key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return a, err
	}
	defer os.Remove(dir)
	if err := mount.All(mounts, dir); err != nil {
		return a, fmt.Errorf("look into image: %w", err)
	}
	defer func() { err = errors.Join(err, unmount(dir)) }()
	root, err := os.OpenRoot(dir) // links that lead out of the image are not followed
	if err != nil {
		return a, err
	}
	defer root.Close()
	a.passwd, a.group = readSome(root, "etc/passwd"), readSome(root, "etc/group")
	return a, nil
}

// readSome reads a file of an image, which need not have it; nobody has more than 1 MiB of users.
func readSome(root *os.Root, name string) []byte {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	return data
}
