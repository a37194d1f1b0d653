package pressure

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

const mi = 1 << 20

func TestThresholdsAreWrittenAsForKubelet(t *testing.T) {
	s := Settings{
		Hard: "memory.available<100Mi, nodefs.available<10%", Soft: "pid.available<1000", SoftGrace: "pid.available=1m30s",
		MinReclaim: "nodefs.available=500Mi",
	}
	got, err := s.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	want := []Threshold{
		{Signal: Memory, Value: Amount{Quantity: 100 * mi}, Hard: true},
		{Signal: PodsMemory, Value: Amount{Quantity: 100 * mi}, Hard: true},
		{Signal: NodeFS, Value: Amount{Share: 0.1}, Hard: true, Reclaim: Amount{Quantity: 500 * mi}},
		{Signal: PIDs, Value: Amount{Quantity: 1000}, Grace: 90 * time.Second},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if all, err := Defaults().Thresholds(); err != nil || len(all) != 6 {
		t.Errorf("the defaults are %v, %v", all, err)
	}
}

func TestWrongThresholdsAreNamed(t *testing.T) {
	for _, c := range []struct {
		s    Settings
		want string
	}{
		{Settings{Hard: "memory.available=5"}, `--eviction-hard "memory.available=5": want SIGNAL<VALUE`},
		{Settings{Hard: "memory<5"}, `there is no signal "memory"`},
		{Settings{Hard: "allocatableMemory.available<5"}, `there is no signal`},
		{Settings{Hard: "pid.available<5,pid.available<6"}, `pid.available is there twice`},
		{Settings{Hard: "nodefs.available<110%"}, `want a share from 0% to 100%`},
		{Settings{Hard: "nodefs.available<-5"}, `want a quantity such as 100Mi`},
		{Settings{Soft: "nodefs.available<5"}, `--eviction-soft-grace-period nodefs.available=1m30s`},
		{Settings{SoftGrace: "nodefs.available=5"}, `missing unit`},
	} {
		if _, err := c.s.Thresholds(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.s, err, c.want)
		}
	}
}

func TestWhatThresholdsKeepIsNotAllocatable(t *testing.T) {
	all, err := Settings{Hard: "memory.available<100Mi,nodefs.available<10%,imagefs.available<15%", Soft: "memory.available<1Gi", SoftGrace: "memory.available=1m"}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	kept := Kept(all, corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("1000Mi")})
	if kept.Memory().String() != "100Mi" || kept.StorageEphemeral().String() != "100Mi" || len(kept) != 2 {
		t.Errorf("%v", kept)
	}
}

// moment is what is measured so long after the beginning, and what is judged then.
type moment struct {
	after  time.Duration
	levels Levels
	under  string // the conditions that hold
	act    Signal
}

func TestNodesAreJudged(t *testing.T) {
	hard := []Threshold{
		{Signal: NodeFS, Value: Amount{Share: 0.1}, Hard: true, Reclaim: Amount{Quantity: 50}},
		{Signal: Memory, Value: Amount{Quantity: 100}, Hard: true},
	}
	soft := []Threshold{{Signal: PIDs, Value: Amount{Quantity: 100}, Grace: time.Minute}}
	memory := func(n int64) Levels { return Levels{Memory: {n, 4000}} }
	disk := func(n int64) Levels { return Levels{NodeFS: {n, 1000}} }
	pids := func(n int64) Levels { return Levels{PIDs: {n, 1000}} }
	for _, row := range []struct {
		name string
		all  []Threshold
		then []moment
	}{
		{"all is well at the threshold itself, and where nothing is measured", hard, []moment{{0, memory(100), "", ""}, {1, Levels{}, "", ""}}},
		{"a hard threshold is acted upon at once, and its condition stays for a while", hard, []moment{
			{0, memory(99), "MemoryPressure", Memory},
			{time.Minute, memory(500), "MemoryPressure", ""},
			{time.Minute, memory(99), "MemoryPressure", Memory},
			{5*time.Minute - 1, memory(500), "MemoryPressure", ""},
			{1, memory(500), "", ""},
		}},
		{"memory comes before disk", hard, []moment{{0, Levels{Memory: {5, 4000}, NodeFS: {5, 1000}}, "MemoryPressure DiskPressure", Memory}}},
		{"once crossed, a little more must be there", hard, []moment{
			{0, disk(120), "", ""}, {1, disk(99), "DiskPressure", NodeFS}, {1, disk(120), "DiskPressure", NodeFS}, {1, disk(150), "DiskPressure", ""},
			{1, disk(120), "DiskPressure", ""},
		}},
		{"a soft threshold is said at once, and acted upon after its grace period", soft, []moment{
			{0, pids(99), "PIDPressure", ""},
			{time.Minute - 1, pids(5), "PIDPressure", ""},
			{1, pids(99), "PIDPressure", PIDs},
		}},
		{"which begins anew when it was well in between", soft, []moment{
			{0, pids(99), "PIDPressure", ""}, {50 * time.Second, pids(100), "PIDPressure", ""}, {5 * time.Second, pids(99), "PIDPressure", ""},
			{10 * time.Second, pids(99), "PIDPressure", ""}, {50 * time.Second, pids(99), "PIDPressure", PIDs},
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			now, past := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Past{}
			for i, m := range row.then {
				now = now.Add(m.after)
				j := Judge(m.levels, row.all, 5*time.Minute, past, now)
				past = j.Next
				var under []string
				for _, c := range Conditions() {
					if j.Under[c] {
						under = append(under, string(c))
					}
				}
				var act Signal
				if j.Act != nil {
					act = j.Act.Signal
				}
				if strings.Join(under, " ") != m.under || act != m.act {
					t.Errorf("%d: %s, acting upon %q", i, under, act)
				}
			}
		})
	}
}

func pod(name string, priority int32, request string, u Usage) Pod {
	c := corev1.Container{Name: "c"}
	if request != "" {
		q := resource.MustParse(request)
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: q, corev1.ResourceEphemeralStorage: q}
	}
	p := &corev1.Pod{Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{c}}}
	p.UID = types.UID(name)
	return Pod{Pod: p, Usage: u, Containers: map[string]Usage{"c": u}}
}

func TestVictimsAreChosen(t *testing.T) {
	static := pod("static", 0, "", Usage{Memory: 900 * mi})
	static.Static = true
	for _, row := range []struct {
		name   string
		signal Signal
		pods   []Pod
		want   types.UID
	}{
		{"none is there", Memory, nil, ""},
		{"those that exceed their requests go first, whatever their priority", Memory, []Pod{
			pod("frugal", 0, "200Mi", Usage{Memory: 100 * mi}), pod("greedy", 1000, "50Mi", Usage{Memory: 60 * mi})}, "greedy"},
		{"then those of lower priority", Memory, []Pod{
			pod("high", 10, "", Usage{Memory: 100 * mi}), pod("low", 5, "", Usage{Memory: 1 * mi})}, "low"},
		{"then those that exceed the most", Memory, []Pod{
			pod("large", 0, "300Mi", Usage{Memory: 310 * mi}), pod("small", 0, "10Mi", Usage{Memory: 100 * mi})}, "small"},
		{"those that stay within their requests go last", Memory, []Pod{
			pod("high", 10, "2Gi", Usage{Memory: 1000 * mi}), pod("low", 0, "2Gi", Usage{Memory: 5 * mi})}, "low"},
		{"for pids only priority and their number count", PIDs, []Pod{
			pod("few", 0, "", Usage{Memory: 900 * mi, PIDs: 3}), pod("many", 0, "2Gi", Usage{PIDs: 300}), pod("important", 1, "", Usage{PIDs: 1000})}, "many"},
		{"for disk what is on disk", NodeFS, []Pod{
			pod("memory", 0, "", Usage{Memory: 900 * mi, Disk: 1}), pod("disk", 0, "", Usage{Disk: 100 * mi})}, "disk"},
		{"for inodes their number", ImageInodes, []Pod{
			pod("disk", 0, "", Usage{Disk: 100 * mi, Inodes: 1}), pod("files", 0, "", Usage{Inodes: 1000})}, "files"},
		{"never those without which there is no cluster", Memory, []Pod{static, pod("critical", systemCritical, "", Usage{Memory: 900 * mi})}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, _ := Choose(Judgement{Act: &Threshold{Signal: row.signal, Hard: true}}, row.pods, time.Minute)
			if v.UID != row.want {
				t.Errorf("%q, want %q", v.UID, row.want)
			}
		})
	}
}

func TestAVictimIsToldWhy(t *testing.T) {
	j := Judgement{Act: &Threshold{Signal: Memory, Value: Amount{Quantity: 100 * mi}, Hard: true}, Level: Level{50*mi + 5, 4000 * mi}}
	v, _ := Choose(j, []Pod{pod("p", 0, "10Mi", Usage{Memory: 60 * mi})}, time.Minute)
	want := Victim{UID: "p", Grace: time.Second, Message: "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. " +
		"Container c was using 60Mi, request is 10Mi, has larger consumption of memory. "}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
	j.Act = &Threshold{Signal: PIDs, Value: Amount{Share: 0.1}}
	j.Level = Level{7, 1000}
	v, _ = Choose(j, []Pod{pod("p", 0, "10Mi", Usage{PIDs: 600})}, time.Minute)
	want = Victim{UID: "p", Grace: time.Minute, Message: "The node was low on resource: pids. Threshold quantity: 100, available: 7. " +
		"Container c was using 600, request is 0, has larger consumption of pids. "}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
}
