package hostport_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/dataplane/hostport"
	"github.com/mainstay-gitops/mainstay/dataplane/service"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// newPod is a pod of the node "mine" with an address; age is in minutes.
func newPod(t testing.TB, name string, age int, spec, status string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "hello", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(noon.Add(-time.Duration(age) * time.Minute)),
	}}
	for text, into := range map[string]any{spec: &p.Spec, status: &p.Status} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	if p.Spec.NodeName == "" {
		p.Spec.NodeName = "mine"
	}
	return p
}

func newStore(t testing.TB, objects ...store.Object) *store.Memory {
	t.Helper()
	kinds := store.Kinds{}
	kinds.Add(corev1.SchemeGroupVersion.WithKind("Pod"), &corev1.Pod{})
	s, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	write(t, s, func(tx *store.Tx) (err error) {
		for _, o := range objects {
			err = errors.Join(err, tx.Create(o))
		}
		return err
	})
	return s
}

func write(t testing.TB, s *store.Memory, f func(*store.Tx) error) {
	t.Helper()
	if _, err := s.Update(t.Context(), "test", f); err != nil {
		t.Fatal(err)
	}
}

func show(rows []hostport.Row) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%s -> %s\n", r.Key, r.Value)
	}
	return b.String()
}

func TestWhichPortsLeadWhere(t *testing.T) {
	const plain = `{containers: [{name: a, ports: [{containerPort: 80, hostPort: 8080}]}]}`
	const running = `{phase: Running, podIP: 10.0.0.2}`
	for _, row := range []struct {
		says, spec, status, want string
	}{
		{"a port of all addresses", plain, running, "0.0.0.0:8080/TCP -> 10.0.0.2:80\n"},
		{"none without a host port", `{containers: [{name: a, ports: [{containerPort: 80}]}]}`, running, ""},
		{"none before the pod has an address", plain, `{phase: Pending}`, ""},
		{"none when it has failed", plain, `{phase: Failed, podIP: 10.0.0.2}`, ""},
		{"none when it has succeeded", plain, `{phase: Succeeded, podIP: 10.0.0.2}`, ""},
		{"none of a pod elsewhere", `{nodeName: other, containers: [{name: a, ports: [{containerPort: 80, hostPort: 8080}]}]}`, running, ""},
		{"none of a pod on the host's network", `{hostNetwork: true, containers: [{name: a, ports: [{containerPort: 80, hostPort: 80}]}]}`, running, ""},
		{"one address and protocol", `{containers: [{name: a, ports: [{containerPort: 53, hostPort: 5353, hostIP: 127.0.0.1, protocol: UDP}]}]}`, running,
			"127.0.0.1:5353/UDP -> 10.0.0.2:53\n"},
		{"those of a sidecar, and not of an init container", `{initContainers: [{name: s, restartPolicy: Always, ports: [{containerPort: 1, hostPort: 1}]},
		  {name: i, ports: [{containerPort: 2, hostPort: 2}]}], containers: [{name: a}]}`, running, "0.0.0.0:1/TCP -> 10.0.0.2:1\n"},
	} {
		t.Run(row.says, func(t *testing.T) {
			var rows []hostport.Row
			for _, c := range hostport.Compile(newStore(t, newPod(t, "a", 0, row.spec, row.status)).Snapshot(), "mine") {
				rows = append(rows, c.Row)
			}
			if got := show(rows); got != row.want {
				t.Errorf("%s\nwant %s", got, row.want)
			}
		})
	}
}

// A machine is one in memory, which may fail.
type machine struct {
	rows     []hostport.Row
	busy     map[service.Frontend]bool // processes have these
	fail     error
	messages []string
}

func (m *machine) HostPorts(context.Context) ([]hostport.Row, error) {
	return slices.Clone(m.rows), m.fail
}

func (m *machine) SetHostPorts(_ context.Context, rows []hostport.Row) error {
	if m.fail == nil {
		m.rows = slices.Clone(rows)
	}
	return m.fail
}

func (m *machine) Listener(f service.Frontend) (netip.AddrPort, bool, error) {
	return f.AddrPort, m.busy[f], nil
}

// A bench is a loop, what it works on, and its clock.
type bench struct {
	*machine
	t    *testing.T
	st   *store.Memory
	loop *hostport.Loop
	now  time.Time
}

func newBench(t *testing.T, m *machine, objects ...store.Object) *bench {
	b := &bench{machine: m, t: t, st: newStore(t, objects...), now: noon}
	b.start()
	return b
}

func (b *bench) start() {
	b.loop = hostport.New(hostport.Config{Store: b.st, Node: "mine", Machine: b.machine, Now: func() time.Time { return b.now },
		Taken: func(p *corev1.Pod, message string) { b.messages = append(b.messages, p.Name+": "+message) }})
}

// settle does all there is to do now, and checks where the machine's ports lead.
func (b *bench) settle(want string) {
	b.t.Helper()
	for range 100 {
		if !b.loop.Step(b.t.Context()) {
			break
		}
	}
	if got := show(b.rows); got != want {
		b.t.Errorf("the machine leads\n%swant\n%s", got, want)
	}
}

func asking(t testing.TB, name string, age int, ip string) *corev1.Pod {
	return newPod(t, name, age, `{containers: [{name: a, ports: [{containerPort: 80, hostPort: 8080}]}]}`, `{phase: Running, podIP: `+ip+`}`)
}

const (
	toA = "0.0.0.0:8080/TCP -> 10.0.0.2:80\n"
	toB = "0.0.0.0:8080/TCP -> 10.0.0.3:80\n"
)

func TestPortsComeAndGoWithPods(t *testing.T) {
	b := newBench(t, &machine{})
	b.settle("")
	a := asking(t, "a", 1, "10.0.0.2")
	write(t, b.st, func(tx *store.Tx) error { return tx.Create(a) })
	b.settle(toA)
	write(t, b.st, func(tx *store.Tx) error { return tx.Create(asking(t, "b", 0, "10.0.0.3")) })
	b.settle(toA) // the older one has it
	write(t, b.st, func(tx *store.Tx) error { return tx.Delete(tx.Key(a)) })
	b.settle(toB)
	b.start() // again
	b.busy = map[service.Frontend]bool{b.rows[0].Key: true}
	b.settle(toB)
	if len(b.messages) > 0 {
		t.Errorf("what leads already is not looked at again, but: %q", b.messages)
	}
}

func TestAPortThatIsTakenIsToldOnceAndGivenWhenItIsFree(t *testing.T) {
	port := service.Frontend{AddrPort: netip.MustParseAddrPort("0.0.0.0:8080"), Protocol: service.TCP}
	b := newBench(t, &machine{busy: map[service.Frontend]bool{port: true}}, asking(t, "a", 1, "10.0.0.2"))
	for range 3 {
		b.settle("")
		b.now = b.now.Add(10 * time.Second)
	}
	if len(b.messages) != 1 || !strings.Contains(b.messages[0], "a: Host port 0.0.0.0:8080/TCP is not led to this pod: a process of the machine listens") {
		t.Errorf("it says %q", b.messages)
	}
	b.busy = nil
	b.settle(toA)
}

func TestAMachineThatFailsIsTriedAgain(t *testing.T) {
	b := newBench(t, &machine{fail: errors.New("no")}, asking(t, "a", 1, "10.0.0.2"))
	b.settle("")
	b.fail = nil
	b.now = b.now.Add(time.Minute)
	b.settle(toA)
}
