package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestACommandLineIsTheContainersOrTheImages(t *testing.T) {
	for _, row := range []struct {
		sentence, command, args, want string
	}{
		{"neither: all of the image", "", "", "/entry image"},
		{"arguments take the place of the image's", "", "own", "/entry own"},
		{"a command takes the place of all of it", "/own", "", "/own"},
		{"and has its arguments", "/own", "a b", "/own a b"},
	} {
		c := ContainerSpec{Command: strings.Fields(row.command), Args: strings.Fields(row.args)}
		if got := strings.Join(c.Argv([]string{"/entry"}, []string{"image"}), " "); got != row.want {
			t.Errorf("%s: got %q", row.sentence, got)
		}
	}
}

func TestAnIDIsReadAsItIsWritten(t *testing.T) {
	id := ID{Pod: "0f9d7c7e", Name: "web-1", Attempt: 12}
	if got, err := ParseID(id.String()); got != id || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, s := range []string{"", "a.b", "a.b.c", "a.b.1.2"} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestAFeedNamesWhatIsHereAndThenWhatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Feed
		ctx, cancel := context.WithCancel(t.Context())
		var got []types.UID
		proceed := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			for uid, err := range f.Listen(ctx, func() []types.UID { return []types.UID{"a", "b"} }) {
				if err != nil {
					done <- err
					return
				}
				got = append(got, uid)
				<-proceed
			}
		}()
		synctest.Wait() // it has been given "a", and is busy with it
		f.Tell("c")
		f.Tell("c")
		f.Tell("d")
		close(proceed)
		synctest.Wait()
		if diff := cmp.Diff([]types.UID{"a", "b", "c", "d"}, got); diff != "" {
			t.Error(diff)
		}
		f.Tell("c")
		synctest.Wait()
		if len(got) != 5 {
			t.Error("a pod is not named again:", got)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error("it ended with", err)
		}
		f.Tell("e") // nobody listens
	})
}

func TestASysctlBelongsToANamespaceOrToTheMachine(t *testing.T) {
	for name, want := range map[string][2]string{
		"net.ipv4.tcp_syncookies":         {"net/ipv4/tcp_syncookies", "net"},
		"net/ipv4/conf/eth0.1/forwarding": {"net/ipv4/conf/eth0.1/forwarding", "net"},
		"net.ipv4.conf.eth0/1.forwarding": {"net/ipv4/conf/eth0.1/forwarding", "net"},
		"kernel.shm_rmid_forced":          {"kernel/shm_rmid_forced", "ipc"},
		"kernel.sem":                      {"kernel/sem", "ipc"},
		"kernel.sem_next_id":              {"kernel/sem_next_id", ""},
		"fs.mqueue.msg_max":               {"fs/mqueue/msg_max", "ipc"},
		"kernel.panic":                    {"kernel/panic", ""},
		"vm.swappiness":                   {"vm/swappiness", ""},
		"network":                         {"network", ""},
	} {
		if path, ns := SysctlPath(name), NamespaceOf(name); path != want[0] || ns != want[1] {
			t.Errorf("%s: %q in %q", name, path, ns)
		}
	}
}
