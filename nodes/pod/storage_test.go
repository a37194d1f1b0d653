package pod

import "testing"

func TestAPodThatUsesMoreDiskThanItMayHasToGo(t *testing.T) {
	const limited = `{containers: [{name: a, resources: {limits: {ephemeral-storage: 100}}}, {name: b, resources: {limits: {ephemeral-storage: 1Ki}}}]}`
	const folder = `{containers: [{name: a}], volumes: [{name: v, emptyDir: {sizeLimit: 1Ki}}, {name: free, emptyDir: {}}]}`
	const memory = `{containers: [{name: a}], volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Ki}}]}`
	for _, row := range []struct {
		what, spec string
		used       Storage
		measured   bool
		want       string
	}{
		{"nothing is limited", `{containers: [{name: a}], volumes: [{name: v, emptyDir: {}}]}`, Storage{Volumes: map[string]int64{"v": 1 << 40}}, false, ""},
		{"a folder as large as it may be", folder, Storage{Volumes: map[string]int64{"v": 1024, "free": 1 << 40}}, true, ""},
		{"a folder that is larger", folder, Storage{Volumes: map[string]int64{"v": 1025}}, true, `Usage of EmptyDir volume "v" exceeds the limit "1Ki". `},
		{"a folder in memory", memory, Storage{}, false, ""},
		{"containers within their limits", limited, Storage{Containers: map[string]int64{"a": 100, "b": 1024}}, true, ""},
		{"one beyond its own", limited, Storage{Containers: map[string]int64{"a": 101}}, true, `Container a exceeded its local ephemeral storage limit "100". `},
		{"all beyond theirs, with a folder", limited, Storage{Containers: map[string]int64{"a": 100, "b": 1000}, Volumes: map[string]int64{"v": 25}}, true,
			"Pod ephemeral local storage usage exceeds the total limit of containers 1124. "},
	} {
		p := parse(t, row.spec)
		if got := Overused(p, row.used); got != row.want || LimitsStorage(p) != row.measured {
			t.Errorf("%s: %q (measured %v), want %q", row.what, got, LimitsStorage(p), row.want)
		}
	}
}
