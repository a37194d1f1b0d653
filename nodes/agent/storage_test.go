package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestAPodThatWritesMoreThanItMayIsEvicted(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		p := n.pod("greedy", `{containers: [{name: a, resources: {limits: {ephemeral-storage: 1Mi}}}]}`)
		n.pod("free", `{containers: [{name: a}]}`)
		n.expect(soon, "greedy", "Running ready a=running")
		n.expect(soon, "free", "Running ready a=running")
		for _, uid := range []string{string(p.UID), string(n.get("free").UID)} {
			id, err := runtime.ParseID(uid + ".a.0")
			if err != nil {
				t.Fatal(err)
			}
			n.fake.SetWritten(id, 2<<20)
		}
		time.Sleep(2 * measureEach)
		synctest.Wait()
		s := n.get("greedy").Status
		if s.Phase != corev1.PodFailed || s.Reason != "Evicted" || !strings.HasPrefix(s.Message, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi") {
			t.Errorf("it is %s, %s: %s", s.Phase, s.Reason, s.Message)
		}
		n.expect(0, "free", "Running ready a=running")
	})
}

// clerk gives tokens that are good for an hour.
type clerk struct{}

func (clerk) ForPod(_ *store.Snapshot, p *corev1.Pod, _ *corev1.ServiceAccountTokenProjection, old string) (string, time.Time, error) {
	begun, err := time.Parse(time.RFC3339, old)
	if err != nil || time.Since(begun) >= time.Hour {
		begun = time.Now()
	}
	return begun.Format(time.RFC3339), begun.Add(time.Hour), nil
}

func TestATokenIsRenewedWhenItGetsOldAndKeptByTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.config = func(c *Config) { c.Tokens = clerk{} }
		n.put(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: "default"}})
		_, stop := n.run()
		p := n.pod("web", `{serviceAccountName: default, containers: [{name: a}], volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token}}]}}]}`)
		n.expect(soon, "web", "Running ready a=running")
		token := func() string {
			b, err := os.ReadFile(filepath.Join(n.dir, "memory", string(p.UID), ".volumes", "v", "token"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		first := token()
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if token() != first {
			t.Error("it was renewed too early")
		}
		stop()
		_, stop = n.run()
		defer stop()
		synctest.Wait()
		if token() != first {
			t.Error("the next process made another one")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if token() == first {
			t.Error("after an hour it still is the one of", first)
		}
	})
}
