// Package fifo makes and opens the FIFOs through which containers write. A FIFO that nobody has open drops what is in it,
// so whoever must not lose output holds a descriptor.
package fifo

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Size of a FIFO: the most that an unprivileged limit (fs.pipe-max-size) allows where nobody changed it. The kernel takes
// the memory only as it is filled.
const Size = 1 << 20

// Make makes a FIFO. One that is there is no error.
func Make(path string) error {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make fifo %s: %w", path, err)
	}
	return nil
}

// Open opens a FIFO for reading and writing: that never blocks, and keeps what is in it while writers come and go. Reads
// wait for data, and know no end. It is enlarged to Size, as far as the system lets it.
func Open(path string) (*os.File, error) {
	fd, err := open(path)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// A Held FIFO is open and never read. Other than a file it does not wake this process when something is written.
type Held struct{ fd int }

// Hold opens a FIFO only to keep what is in it. A container cannot start before somebody has its FIFOs open.
func Hold(path string) (*Held, error) {
	fd, err := open(path)
	if err != nil {
		return nil, err
	}
	return &Held{fd}, nil
}

// Close lets go of it.
func (h *Held) Close() error { return unix.Close(h.fd) }

func open(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, fmt.Errorf("open fifo %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return 0, fmt.Errorf("open fifo %s: it is none", path)
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, Size) // a smaller one serves too
	return fd, nil
}
