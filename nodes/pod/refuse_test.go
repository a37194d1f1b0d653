package pod

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func sandbox(t *testing.T, spec string) runtime.SandboxSpec {
	t.Helper()
	box, err := SandboxSpec(parse(t, spec), place, snapshot(t))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func TestAMachineRefusesWhatItMayNotDo(t *testing.T) {
	with := func(change func(*Place)) Place {
		p := place
		change(&p)
		return p
	}
	loose := with(func(p *Place) { p.UnsafeSysctls = []string{"kernel.msg*", "net.core.somaxconn", "kernel.panic"} })
	armed := with(func(p *Place) { p.Features.AppArmor = true })
	labelled := with(func(p *Place) { p.Features.SELinux = true })
	for _, row := range []struct {
		sentence, spec string
		place          Place
		want           *Refusal
	}{
		{"nothing unusual", `{containers: [{name: a}]}`, place, nil},
		{"safe sysctls, with either separator", `{securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: "1"}, {name: net/ipv4/tcp_rmem, value: "1 2 3"}]}, containers: [{name: a}]}`, place, nil},
		{"an unsafe one", `{securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}, containers: [{name: a}]}`, place,
			&Refusal{"SysctlForbidden", `forbidden sysctl: "kernel.msgmax" not allowlisted`}},
		{"an unsafe one that is allowed by its beginning", `{securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}, containers: [{name: a}]}`, loose, nil},
		{"one that is allowed by its name", `{securityContext: {sysctls: [{name: net.core.somaxconn, value: "1"}]}, containers: [{name: a}]}`, loose, nil},
		{"a name of which the allowed one is the beginning", `{securityContext: {sysctls: [{name: net.core.somaxconn2, value: "1"}]}, containers: [{name: a}]}`, loose,
			&Refusal{"SysctlForbidden", `forbidden sysctl: "net.core.somaxconn2" not allowlisted`}},
		{"one of the whole machine, whatever is allowed", `{securityContext: {sysctls: [{name: kernel.panic, value: "1"}]}, containers: [{name: a}]}`, loose,
			&Refusal{"SysctlForbidden", `forbidden sysctl: "kernel.panic" not allowlisted`}},
		{"one of the host's network", `{hostNetwork: true, securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]}, containers: [{name: a}]}`, place,
			&Refusal{"SysctlForbidden", `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled`}},
		{"one of the host's queues", `{hostIPC: true, securityContext: {sysctls: [{name: kernel.shm_rmid_forced, value: "1"}]}, containers: [{name: a}]}`, place,
			&Refusal{"SysctlForbidden", `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled`}},
		{"AppArmor where there is none", `{containers: [{name: a, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}`, place,
			&Refusal{"AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"}},
		{"for the pod too", `{securityContext: {appArmorProfile: {type: Localhost, localhostProfile: x}}, containers: [{name: a}]}`, place,
			&Refusal{"AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"}},
		{"SELinux where there is none", `{securityContext: {seLinuxOptions: {level: "s0:c1"}}, containers: [{name: a, securityContext: {seLinuxOptions: {type: spc_t}}}]}`, place, nil},
		{"SELinux where there is some", `{securityContext: {seLinuxOptions: {level: "s0:c1"}}, containers: [{name: a}]}`, labelled,
			&Refusal{"SELinux", "Cannot set SELinux labels: SELinux is enabled on the host, and labels are not supported yet"}},
		{"SELinux for a container where there is some", `{containers: [{name: a, securityContext: {seLinuxOptions: {type: spc_t}}}]}`, labelled,
			&Refusal{"SELinux", "Cannot set SELinux labels: SELinux is enabled on the host, and labels are not supported yet"}},
		{"no SELinux where there is some", `{containers: [{name: a}]}`, labelled, nil},
		{"no AppArmor where there is none", `{securityContext: {appArmorProfile: {type: Unconfined}}, containers: [{name: a}]}`, place, nil},
		{"AppArmor where there is some", `{containers: [{name: a, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}`, armed, nil},
	} {
		if d := cmp.Diff(row.want, Refuse(parse(t, row.spec), row.place)); d != "" {
			t.Errorf("%s: %s", row.sentence, d)
		}
	}
	if err := CheckUnsafeSysctls([]string{"net.*", "kernel.sem", "vm.swappiness"}); err == nil {
		t.Error("a name of the whole machine is taken")
	}
}

func TestAPodThatIsRefusedHasFailedAndStaysSo(t *testing.T) {
	seen := Seen{Refused: &Refusal{"SysctlForbidden", "forbidden"}}
	p := parse(t, `{containers: [{name: a}]}`)
	p.Status.Phase = corev1.PodPending
	n := Decide(p, seen, now)
	if n.Status.Phase != corev1.PodFailed || n.Status.Reason != "SysctlForbidden" || n.Status.Message != "Pod was rejected: forbidden" || len(n.Steps) > 0 {
		t.Errorf("it is %+v", n)
	}
	if d := cmp.Diff([]Event{{corev1.EventTypeWarning, "SysctlForbidden", "", "forbidden"}}, n.Events); d != "" {
		t.Error(d)
	}
	seen.Status = &n.Status
	again := Decide(p, seen, now)
	if len(again.Events) > 0 || again.Status.Phase != corev1.PodFailed || again.Status.Reason != "SysctlForbidden" {
		t.Errorf("again it is %+v", again)
	}
	running := parse(t, `{containers: [{name: a}]}`)
	running.Status = corev1.PodStatus{Phase: corev1.PodRunning}
	if n := Decide(running, Seen{Refused: seen.Refused}, now); n.Status.Phase == corev1.PodFailed {
		t.Error("one that was begun is refused")
	}
}

func TestWhatThePodSharesIsPassedOn(t *testing.T) {
	box := sandbox(t, `{hostIPC: true, shareProcessNamespace: true, securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]}, containers: [{name: a}]}`)
	if !box.HostIPC || !box.SharePIDs || box.HostPID || box.Sysctls["net.ipv4.tcp_syncookies"] != "1" {
		t.Errorf("it is %+v", box)
	}
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Handler: "runc"}
	p := parse(t, `{runtimeClassName: small, containers: [{name: a}]}`)
	if box, err := SandboxSpec(p, place, snapshot(t, class)); err != nil || box.Handler != "runc" {
		t.Errorf("it is run by %q, %v", box.Handler, err)
	}
	if _, err := SandboxSpec(p, place, snapshot(t)); err == nil || err.Error() != `RuntimeClass "small" not found` {
		t.Error("without its class:", err)
	}
}

func TestAPodMayAskForResourcesAsAWhole(t *testing.T) {
	machine := place
	machine.Capacity = corev1.ResourceList{"hugepages-2Mi": resource.MustParse("8Mi"), "hugepages-1Gi": resource.Quantity{}, "memory": resource.MustParse("1Gi")}
	p := parse(t, `{resources: {requests: {cpu: 500m, memory: 256Mi}, limits: {cpu: 1, memory: 512Mi}}, overhead: {memory: 1Mi},
	  containers: [{name: a, resources: {requests: {memory: 64Mi}, limits: {hugepages-2Mi: 4Mi}}}, {name: b}]}`)
	box, err := SandboxSpec(p, machine, snapshot(t))
	if err != nil {
		t.Fatal(err)
	}
	want := runtime.Resources{CPUShares: 512, CPUQuota: 100_000, CPUPeriod: 100_000, MemoryLimit: 513 << 20, HugePages: map[string]int64{"2MB": 4 << 20, "1GB": 0}}
	if d := cmp.Diff(want, box.Resources); d != "" {
		t.Error("the pod (-want +got):", d)
	}
	if d := cmp.Diff(map[string]int64{"2MB": 4 << 20}, limits(p.Spec.Containers[0].Resources.Requests, p.Spec.Containers[0].Resources.Limits).HugePages); d != "" {
		t.Error("its container (-want +got):", d)
	}
	if got := oomScore(p, &p.Spec.Containers[0], 1<<30); got != 1000-(64+96)*1000/1024 {
		t.Error("what it asks for beyond its containers is not theirs in equal parts: the score is", got)
	}
}

func TestConfinementIsPassedOn(t *testing.T) {
	armed := runtime.Features{AppArmor: true}
	for _, row := range []struct {
		sentence, spec string
		features       runtime.Features
		want           runtime.Security
	}{
		{"a profile of the node's own, for all containers", `{securityContext: {seccompProfile: {type: Localhost, localhostProfile: a/b.json}}, containers: [{name: a}]}`, runtime.Features{},
			runtime.Security{Seccomp: "a/b.json"}},
		{"privileged has none", `{securityContext: {seccompProfile: {type: Localhost, localhostProfile: a}}, containers: [{name: a, securityContext: {privileged: true}}]}`, armed,
			runtime.Security{Privileged: true, Unconfined: true}},
		{"strict groups, and /proc as it is", `{securityContext: {supplementalGroupsPolicy: Strict}, containers: [{name: a, securityContext: {procMount: Unmasked}}]}`, runtime.Features{},
			runtime.Security{StrictGroups: true, UnmaskedProc: true}},
		{"the usual AppArmor profile when it says nothing", `{containers: [{name: a}]}`, armed, runtime.Security{AppArmor: runtime.AppArmorDefault}},
		{"its own AppArmor profile", `{containers: [{name: a, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: web}}}]}`, armed, runtime.Security{AppArmor: "web"}},
		{"no AppArmor profile", `{securityContext: {appArmorProfile: {type: Unconfined}}, containers: [{name: a}]}`, armed, runtime.Security{}},
	} {
		p := parse(t, row.spec)
		got, err := security(p, &p.Spec.Containers[0], row.features)
		if d := cmp.Diff(row.want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", row.sentence, err, d)
		}
	}
}

func TestMountsPropagateAndAreReadOnlyAsTheySay(t *testing.T) {
	p := parse(t, `{containers: [{name: a, volumeMounts: [
	  {name: plain, mountPath: /a, readOnly: true}, {name: must, mountPath: /b, readOnly: true, recursiveReadOnly: Enabled},
	  {name: may, mountPath: /c, readOnly: true, recursiveReadOnly: IfPossible, mountPropagation: None}, {name: both, mountPath: /d, mountPropagation: Bidirectional},
	  {name: follows, mountPath: /e, mountPropagation: HostToContainer}]}]}`)
	can, cannot := runtime.Features{RecursiveReadOnly: true}, runtime.Features{}
	for i, want := range []struct {
		can, cannot, fails bool
		propagation        runtime.Propagation
	}{{}, {can: true, fails: true}, {can: true}, {propagation: runtime.Bidirectional}, {propagation: runtime.HostToContainer}} {
		m := &p.Spec.Containers[0].VolumeMounts[i]
		yes, err := RecursiveReadOnly(m, can)
		no, refused := RecursiveReadOnly(m, cannot)
		if err != nil || yes != want.can || no != want.cannot || (refused != nil) != want.fails || Propagation(m) != want.propagation {
			t.Errorf("%s: %v, %v, %v, %v, %s", m.Name, yes, err, no, refused, Propagation(m))
		}
	}
}
