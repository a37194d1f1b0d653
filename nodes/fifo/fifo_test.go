package fifo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/nodes/fifo"
)

func TestAFIFOKeepsWhatIsInItWhileSomebodyHoldsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for range 2 {
		if err := fifo.Make(path); err != nil {
			t.Fatal(err)
		}
	}
	holder, err := fifo.Hold(path)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	writer, err := fifo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", fifo.Size)
	if n, err := writer.WriteString(text); n != len(text) || err != nil {
		t.Fatal("it does not hold its size:", n, err)
	}
	writer.Close()
	reader, err := fifo.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	got := 0
	for buf := make([]byte, 1<<16); got < len(text); {
		n, err := reader.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if err := reader.SetReadDeadline(time.Now()); err != nil {
		t.Error("its reads cannot be ended:", err)
	}
}

func TestOnlyAFIFOIsOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link, path + ".absent"} {
		if f, err := fifo.Open(p); err == nil {
			f.Close()
			t.Error(p, "was opened")
		}
	}
}
