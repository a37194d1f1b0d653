package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/nodes/nodetest"
	"github.com/mainstay-gitops/mainstay/nodes/pod"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// cluster is a store with objects, for the content of volumes.
type cluster struct {
	t *testing.T
	*store.Memory
}

func newCluster(t *testing.T) *cluster {
	kinds := store.Kinds{}
	for kind, o := range map[string]store.Object{
		"ConfigMap": &corev1.ConfigMap{}, "Secret": &corev1.Secret{}, "Service": &corev1.Service{},
		"PersistentVolume": &corev1.PersistentVolume{}, "PersistentVolumeClaim": &corev1.PersistentVolumeClaim{},
	} {
		kinds.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, o)
	}
	m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &cluster{t, m}
}

func (c *cluster) put(o store.Object) {
	c.t.Helper()
	if _, err := c.Update(c.t.Context(), "test", func(tx *store.Tx) error {
		if _, ok := tx.Get(tx.Key(o)); ok {
			return tx.Update(o)
		}
		return tx.Create(o)
	}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) config(name string, data map[string]string) {
	c.t.Helper()
	c.put(&corev1.ConfigMap{ObjectMeta: meta("hello", name), Data: data})
}

func (c *cluster) world() World {
	return World{Snapshot: c.Snapshot(), Place: pod.Place{Node: "here", Domain: "cluster.local"}, Address: netip.MustParseAddr("10.1.0.2")}
}

func parse(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	text := `{metadata: {name: web, namespace: hello, uid: u, labels: {app: web}}, spec: ` + spec + `}`
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatalf("%v in %s", err, spec)
	}
	return p
}

func plain(t *testing.T) *Volumes {
	dir := t.TempDir()
	return In(dir+"/pods", dir+"/memory")
}

// show lists what a folder holds as containers see it: what is linked is followed.
func show(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	var walk func(path, name string)
	walk = func(path, name string) {
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "..") {
				continue
			}
			at := filepath.Join(path, e.Name())
			info, err := os.Stat(at)
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(at, name+e.Name()+"/")
				continue
			}
			data, err := os.ReadFile(at)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%s %04o %s\n", name+e.Name(), info.Mode().Perm(), data))
		}
	}
	walk(dir, "")
	return strings.Join(lines, "")
}

func TestVolumesShowWhatTheyAreMadeFrom(t *testing.T) {
	c := newCluster(t)
	c.config("config", map[string]string{"a": "1", "b": "2"})
	c.put(&corev1.Secret{ObjectMeta: meta("hello", "secret"), Data: map[string][]byte{"key": []byte("s3cret")}})
	c.put(&corev1.ConfigMap{ObjectMeta: meta("hello", "binary"), BinaryData: map[string][]byte{"x": {1}}})
	for _, row := range []struct{ name, volume, want string }{
		{"a config map", `configMap: {name: config}`, "a 0644 1\nb 0644 2\n"},
		{"some of its keys, with modes", `configMap: {name: config, defaultMode: 0400, items: [{key: a, path: x/y/z}, {key: b, path: b, mode: 0755}]}`, "b 0755 2\nx/y/z 0400 1\n"},
		{"bytes", `configMap: {name: binary}`, "x 0644 \x01\n"},
		{"one that may be missing", `configMap: {name: nope, optional: true}`, ""},
		{"a key that may be missing", `configMap: {name: config, optional: true, items: [{key: nope, path: x}]}`, ""},
		{"a secret", `secret: {secretName: secret, defaultMode: 0400}`, "key 0400 s3cret\n"},
		{"the pod itself", `downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}, {path: labels, fieldRef: {fieldPath: metadata.labels}}]}`,
			"labels 0644 app=\"web\"\nname 0644 web\n"},
		{"several things", `projected: {defaultMode: 0440, sources: [{configMap: {name: config, items: [{key: a, path: c/a}]}}, {secret: {name: secret, items: [{key: key, path: s/key}]}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}`,
			"c/a 0440 1\nname 0440 web\ns/key 0440 s3cret\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := plain(t)
			p := parse(t, `{volumes: [{name: v, `+row.volume+`}]}`)
			for range 2 {
				if _, err := v.Make(p, c.world()); err != nil {
					t.Fatal(err)
				}
			}
			dir := v.path("u", &p.Spec.Volumes[0])
			if d := cmp.Diff(row.want, show(t, dir)); d != "" {
				t.Error(d)
			}
			if secret := strings.Contains(row.volume, "ecret"); secret != strings.Contains(dir, "/memory/") {
				t.Errorf("it is at %s", dir)
			}
		})
	}
}

func TestAVolumeThatCannotBeMadeSaysWhy(t *testing.T) {
	c := newCluster(t)
	c.config("config", map[string]string{"a": "1"})
	for volume, want := range map[string]string{
		`configMap: {name: nope}`:                                              `volume "v": configmap "nope" not found`,
		`secret: {secretName: nope}`:                                           `volume "v": secret "nope" not found`,
		`configMap: {name: config, items: [{key: b, path: x}]}`:                `volume "v": configmap config has no key "b"`,
		`configMap: {name: config, items: [{key: a, path: ../x}]}`:             `volume "v": path "../x" does not lead into the volume`,
		`configMap: {name: config, items: [{key: a, path: ..data}]}`:           `volume "v": path "..data" does not lead into the volume`,
		`configMap: {name: config, items: [{key: a, path: /etc/x}]}`:           `volume "v": path "/etc/x" does not lead into the volume`,
		`hostPath: {path: /nope/nope, type: Directory}`:                        `volume "v": hostPath type check failed: /nope/nope is not a directory`,
		`hostPath: {path: /etc/passwd, type: Directory}`:                       `volume "v": hostPath type check failed: /etc/passwd is not a directory`,
		`downwardAPI: {items: [{path: x, fieldRef: {fieldPath: status.foo}}]}`: `volume "v": file x: field "status.foo" cannot be referred to`,
	} {
		_, err := plain(t).Make(parse(t, `{volumes: [{name: v, `+volume+`}]}`), c.world())
		if err == nil || err.Error() != want {
			t.Errorf("%s: the error is %v, want %s", volume, err, want)
		}
	}
}

func TestAVolumeChangesAsAWhole(t *testing.T) {
	c, v := newCluster(t), plain(t)
	p := parse(t, `{volumes: [{name: v, configMap: {name: config}}]}`)
	c.config("config", map[string]string{"a": "1", "gone": "x"})
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	dir := v.path("u", &p.Spec.Volumes[0])
	before := Version(p, c.Snapshot())
	data, _ := os.Readlink(dir + "/..data")

	// A reader that holds the old folder sees the old files together until it looks anew.
	c.config("config", map[string]string{"a": "2", "b": "2"})
	if Version(p, c.Snapshot()) == before {
		t.Error("the version did not change with what the volume shows")
	}
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("a 0644 2\nb 0644 2\n", show(t, dir)); d != "" {
		t.Error(d)
	}
	if link, _ := os.Readlink(dir + "/a"); link != "..data/a" {
		t.Errorf("a is a link to %q", link)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 4 { // ..data, its folder, a, b
		t.Errorf("in the volume are %v", entries)
	}
	if now, _ := os.Readlink(dir + "/..data"); now == data {
		t.Error("the files were changed in place")
	}
}

func TestAVolumeThatIsAsItShouldBeIsNotTouched(t *testing.T) {
	c, v := newCluster(t), plain(t)
	p := parse(t, `{volumes: [{name: v, configMap: {name: config}}, {name: e, emptyDir: {}}]}`)
	c.config("config", map[string]string{"a": "1"})
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	file := v.path("u", &p.Spec.Volumes[1]) + "/file"
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	list := func() string {
		var b strings.Builder
		err := filepath.WalkDir(v.pods, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			fmt.Fprintln(&b, path, info.ModTime().UnixNano(), info.Sys().(*syscall.Stat_t).Ino)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := list()
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, list()); d != "" {
		t.Error(d)
	}
}

func TestWhatACrashLeftInAVolumeIsClearedAway(t *testing.T) {
	c, v := newCluster(t), plain(t)
	p := parse(t, `{volumes: [{name: v, configMap: {name: config}}]}`)
	c.config("config", map[string]string{"a": "1"})
	dir := v.path("u", &p.Spec.Volumes[0])
	if err := os.MkdirAll(dir+"/..2026_01_01_00_00_00.1/half", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026_01_01_00_00_00.1", dir+"/..data_tmp"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if d := cmp.Diff("a 0644 1\n", show(t, dir)); d != "" || len(entries) != 3 {
		t.Error(d, entries)
	}
}

func TestAnEmptyFolderIsForAnybody(t *testing.T) {
	v := plain(t)
	p := parse(t, `{volumes: [{name: e, emptyDir: {}}, {name: m, emptyDir: {mode: 01750}}]}`)
	if _, err := v.Make(p, newCluster(t).world()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []fs.FileMode{fs.ModeDir | 0o777, fs.ModeDir | fs.ModeSticky | 0o750} {
		info, err := os.Stat(v.path("u", &p.Spec.Volumes[i]))
		if err != nil || info.Mode() != want {
			t.Errorf("its mode is %v (%v), want %v", info.Mode(), err, want)
		}
	}
}

func TestAnEmptyFolderThatACrashLeftUnfinishedIsFinishedAndNoOther(t *testing.T) {
	v := plain(t)
	p := parse(t, `{volumes: [{name: e, emptyDir: {}}]}`)
	path := v.path("u", &p.Spec.Volumes[0])
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for is, want := range map[fs.FileMode]fs.FileMode{0: 0o777, 0o700: 0o700} {
		if err := os.Chmod(path, is); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Make(p, newCluster(t).world()); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("its mode %v became %v (%v), want %v", is, info.Mode(), err, want)
		}
	}
}

func TestFilesInEtcAreMountedUnlessTheContainerHasItsOwn(t *testing.T) {
	c, v := newCluster(t), plain(t)
	p := parse(t, `{containers: [{name: a, terminationMessagePath: /tmp/end, volumeMounts: [{name: e, mountPath: /etc/hosts}, {name: e, mountPath: /data, readOnly: true}]}], volumes: [{name: e, emptyDir: {}}]}`)
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	mounts, err := v.Mounts(p, &p.Spec.Containers[0], 2, c.world())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range mounts {
		source, _ := filepath.Rel(filepath.Dir(v.pods), m.Source)
		got = append(got, fmt.Sprintf("%s %s %v", source, m.Target, m.ReadOnly))
	}
	want := []string{
		"pods/u/.volumes/e /etc/hosts false", "pods/u/.volumes/e /data true", "memory/u/.etc/hostname /etc/hostname false", "memory/u/.etc/resolv.conf /etc/resolv.conf false",
		"memory/u/.ends/a.2 /tmp/end false",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	id := runtime.ID{Pod: "u", Name: "a", Attempt: 2}
	if err := os.WriteFile(v.message(id), []byte(strings.Repeat("x", 5000)), 0o666); err != nil {
		t.Fatal(err)
	}
	if m := v.Message(id); len(m) != maxMessage {
		t.Errorf("the last words have %d bytes, want %d", len(m), maxMessage)
	}
}

func TestNothingIsLeftOfAPodThatIsRemoved(t *testing.T) {
	c, v := newCluster(t), plain(t)
	c.config("config", map[string]string{"a": "1"})
	c.put(&corev1.Secret{ObjectMeta: meta("hello", "secret"), Data: map[string][]byte{"key": []byte("x")}})
	p := parse(t, `{containers: [{name: a}], volumes: [{name: v, configMap: {name: config}}, {name: s, secret: {secretName: secret}}, {name: e, emptyDir: {}}]}`)
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Mounts(p, &p.Spec.Containers[0], 0, c.world()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(v.ContainerDir("u", "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := v.Remove("u"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a"}, entries(t, v.Dir("u"))); d != "" {
		t.Error("the logs stay:", d)
	}
	for range 2 {
		if err := v.RemoveAll("u"); err != nil {
			t.Fatal(err)
		}
	}
	if left := append(entries(t, v.pods), entries(t, v.memory)...); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range all {
		names[e.Name()] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// opened is Volumes as the agent opens them, in a folder of the test's own.
func opened(t *testing.T) *Volumes {
	nodetest.Root(t)
	dir := nodetest.Dir(t)
	v, err := Open(dir+"/pods", dir+"/memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Purge(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func TestSecretsAndMemoryFoldersLieInMemory(t *testing.T) {
	c, v := newCluster(t), opened(t)
	c.put(&corev1.Secret{ObjectMeta: meta("hello", "secret"), Data: map[string][]byte{"key": []byte("x")}})
	p := parse(t, `{securityContext: {fsGroup: 4242}, volumes: [{name: s, secret: {secretName: secret, defaultMode: 0400}}, {name: m, emptyDir: {medium: Memory, sizeLimit: 64Ki}}, {name: e, emptyDir: {}}]}`)
	for range 2 {
		if _, err := v.Make(p, c.world()); err != nil {
			t.Fatal(err)
		}
	}
	for i, memory := range []bool{true, true, false} {
		path := v.path("u", &p.Spec.Volumes[i])
		var fs syscall.Statfs_t
		if err := syscall.Statfs(path, &fs); err != nil {
			t.Fatal(err)
		}
		const tmpfs = 0x01021994
		if is := fs.Type == tmpfs; is != memory {
			t.Errorf("volume %s is in memory: %v, want %v", p.Spec.Volumes[i].Name, is, memory)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if gid := info.Sys().(*syscall.Stat_t).Gid; gid != 4242 {
			t.Errorf("volume %s belongs to group %d", p.Spec.Volumes[i].Name, gid)
		}
	}
	if got := show(t, v.path("u", &p.Spec.Volumes[0])); got != "key 0440 x\n" {
		t.Errorf("the secret is %q, want one that its group can read", got)
	}
	full := os.WriteFile(v.path("u", &p.Spec.Volumes[1])+"/big", make([]byte, 128<<10), 0o600)
	if !errors.Is(full, syscall.ENOSPC) {
		t.Errorf("writing twice as much as there is room: %v", full)
	}
	if err := v.RemoveAll("u"); err != nil {
		t.Error(err)
	}
}

func TestASubPathLeadsNowhereButIntoItsVolume(t *testing.T) {
	c, v := newCluster(t), opened(t)
	c.config("config", map[string]string{"a": "1"})
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/loot", []byte("loot"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := parse(t, `{volumes: [{name: e, emptyDir: {}}, {name: v, configMap: {name: config}}]}`)
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	dir := v.path("u", &p.Spec.Volumes[0])
	for name, to := range map[string]string{"out": outside, "up": "../../..", "proc": "/proc/self/root", "in": "dir"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		mount, bad string // bad: what the error says
	}{
		{`{name: e, mountPath: /x, subPath: dir}`, ""},
		{`{name: e, mountPath: /x, subPath: in}`, ""},
		{`{name: e, mountPath: /x, subPath: made/on/demand}`, ""},
		{`{name: v, mountPath: /x, subPath: a}`, ""},
		{`{name: e, mountPath: /x, subPathExpr: "logs/$(POD)"}`, ""},
		{`{name: e, mountPath: /x, subPathExpr: "logs/$(NOPE)"}`, "variable NOPE is not set"},
		{`{name: v, mountPath: /x, subPath: nope}`, "no such file"},
		{`{name: e, mountPath: /x, subPath: out}`, "cross-device"},
		{`{name: e, mountPath: /x, subPath: out/loot}`, "cross-device"},
		{`{name: e, mountPath: /x, subPath: out/new}`, "cross-device"},
		{`{name: e, mountPath: /x, subPath: up}`, "cross-device"},
		{`{name: e, mountPath: /x, subPath: proc}`, "cross-device"},
		{`{name: e, mountPath: /x, subPath: ../../x}`, "does not lead into the volume"},
	} {
		t.Run(row.mount, func(t *testing.T) {
			q := parse(t, `{containers: [{name: a, env: [{name: POD, value: web}], volumeMounts: [`+row.mount+`]}]}`)
			q.Spec.Volumes = p.Spec.Volumes
			mounts, err := v.Mounts(q, &q.Spec.Containers[0], 0, c.world())
			if row.bad != "" {
				if _, own := errors.AsType[*runtime.ConfigError](err); !own || !strings.Contains(err.Error(), row.bad) {
					t.Errorf("the error is %v, want %q", err, row.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// What is bound stays what it was, whatever becomes of the volume.
			is, err := os.Stat(mounts[0].Source)
			if err != nil {
				t.Fatal(err)
			}
			if row.mount == `{name: e, mountPath: /x, subPath: dir}` {
				want, _ := os.Stat(dir + "/dir")
				if !os.SameFile(is, want) {
					t.Error("it shows something else")
				}
			}
		})
	}
	if err := v.RemoveAll("u"); err != nil {
		t.Error(err)
	}
	if got := entries(t, outside); len(got) != 1 {
		t.Errorf("outside are %v", got)
	}
}

func TestRemovingAPodDoesNotTouchWhatItShowedOfTheHost(t *testing.T) {
	c, v := newCluster(t), opened(t)
	host := t.TempDir()
	if err := os.MkdirAll(host+"/data", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(host+"/data/precious", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := parse(t, `{containers: [{name: a, volumeMounts: [{name: h, mountPath: /x, subPath: data}]}], volumes: [{name: h, hostPath: {path: `+host+`}}]}`)
	if _, err := v.Make(p, c.world()); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each run of the container binds anew
		mounts, err := v.Mounts(p, &p.Spec.Containers[0], 0, c.world())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(mounts[0].Source + "/precious"); err != nil {
			t.Error(err)
		}
	}
	if err := v.RemoveAll("u"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(host + "/data/precious"); err != nil {
		t.Error(err)
	}
}

// clerk gives tokens that name what they are for, and renews what it is shown when told to.
type clerk struct {
	renew bool
	count int
}

func (c *clerk) ForPod(_ *store.Snapshot, p *corev1.Pod, want *corev1.ServiceAccountTokenProjection, old string) (string, time.Time, error) {
	until := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC).Add(time.Duration(*want.ExpirationSeconds) * time.Second)
	if p.Spec.ServiceAccountName == "nobody" {
		return "", time.Time{}, errors.New(`serviceaccount "nobody" not found`)
	}
	if old != "" && !c.renew {
		return old, until, nil
	}
	c.count++
	return fmt.Sprintf("%s %s %d", want.Audience, p.Name, c.count), until, nil
}

func TestATokenIsMadeOnceAndRenewedInPlace(t *testing.T) {
	c, k := newCluster(t), &clerk{}
	w := c.world()
	w.Tokens = k
	const two = `{volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: a/token, audience: x, expirationSeconds: 600}}, {serviceAccountToken: {path: b, audience: "y", expirationSeconds: 3600}}]}}]}`
	v, p := plain(t), parse(t, two)
	for _, row := range []struct {
		renew bool
		want  string
	}{{false, "a/token 0644 x web 1\nb 0644 y web 2\n"}, {false, "a/token 0644 x web 1\nb 0644 y web 2\n"}, {true, "a/token 0644 x web 3\nb 0644 y web 4\n"}} {
		k.renew = row.renew
		again, err := v.Make(p, w)
		if err != nil || again.Minute() != 10 {
			t.Errorf("made again at %s (%v), want that of the shorter life", again, err)
		}
		dir := v.path("u", &p.Spec.Volumes[0])
		if d := cmp.Diff(row.want, show(t, dir)); d != "" || !strings.Contains(dir, "/memory/") {
			t.Error(d, dir)
		}
	}
}

func TestATokenIsForThoseWhoRunInThePod(t *testing.T) {
	nodetest.Root(t)
	w := newCluster(t).world()
	w.Tokens = &clerk{}
	const token = `volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 600}}]}}]`
	for what, row := range map[string]struct {
		spec     string
		uid, gid uint32
		mode     fs.FileMode
	}{
		"nobody says who":  {`containers: [{name: a}]`, 0, 0, 0o644},
		"one user":         {`securityContext: {runAsUser: 7}, containers: [{name: a}]`, 7, 0, 0o600},
		"a group":          {`securityContext: {fsGroup: 8}, containers: [{name: a}]`, 0, 8, 0o640},
		"a user and group": {`securityContext: {fsGroup: 8}, containers: [{name: a, securityContext: {runAsUser: 7}}]`, 7, 8, 0o640},
		"different users":  {`securityContext: {runAsUser: 7}, containers: [{name: a}, {name: b, securityContext: {runAsUser: 9}}]`, 0, 0, 0o644},
	} {
		v := plain(t)
		p := parse(t, `{`+row.spec+`, `+token+`}`)
		for range 2 {
			if _, err := v.Make(p, w); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Stat(v.path("u", &p.Spec.Volumes[0]) + "/token")
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != row.uid || st.Gid != row.gid || info.Mode() != row.mode {
			t.Errorf("%s: %d %d %v, want %d %d %v", what, st.Uid, st.Gid, info.Mode(), row.uid, row.gid, row.mode)
		}
	}
}

func TestAHostPathIsWhatItsTypeSays(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir+"/folder", 0o700))
	must(os.WriteFile(dir+"/file", []byte("x"), 0o600))
	must(syscall.Mkfifo(dir+"/pipe", 0o600))
	l, err := net.Listen("unix", dir+"/socket")
	must(err)
	defer l.Close()
	for _, row := range []struct {
		path, kind string
		ok         bool
	}{
		{"folder", "", true}, {"file", "", true}, {"made", "", true},
		{"folder", "Directory", true}, {"file", "Directory", false}, {"missing", "Directory", false},
		{"folder", "DirectoryOrCreate", true}, {"new/folder", "DirectoryOrCreate", true}, {"file", "DirectoryOrCreate", false},
		{"file", "File", true}, {"folder", "File", false}, {"pipe", "File", false}, {"missing", "File", false},
		{"file", "FileOrCreate", true}, {"new/file", "FileOrCreate", true}, {"folder", "FileOrCreate", false}, {"none/file", "FileOrCreate", false},
		{"socket", "Socket", true}, {"file", "Socket", false}, {"socket", "FileOrCreate", false},
		{"/dev/null", "CharDevice", true}, {"file", "CharDevice", false}, {"/dev/null", "BlockDevice", false}, {"file", "BlockDevice", false},
	} {
		path := row.path
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		_, err := plain(t).Make(parse(t, fmt.Sprintf(`{volumes: [{name: v, hostPath: {path: %s, type: %q}}]}`, path, row.kind)), newCluster(t).world())
		if ok := err == nil; ok != row.ok || err != nil && row.path != "none/file" && !strings.Contains(err.Error(), "hostPath type check failed: "+path) {
			t.Errorf("%s as %q: %v", row.path, row.kind, err)
		}
	}
	if info, err := os.Stat(dir + "/made"); err != nil || !info.IsDir() {
		t.Errorf("what no type says is not made as a folder: %v", err)
	}
}

func TestWhatAPodUsesOfTheDiskIsMeasured(t *testing.T) {
	v := plain(t)
	p := parse(t, `{containers: [{name: a}], volumes: [{name: e, emptyDir: {}}, {name: h, hostPath: {path: /etc}}]}`)
	if _, err := v.Make(p, newCluster(t).world()); err != nil {
		t.Fatal(err)
	}
	before := v.Usage(t.Context(), p)
	at := v.path("u", &p.Spec.Volumes[0])
	if err := errors.Join(os.MkdirAll(at+"/deep/er", 0o755), os.WriteFile(at+"/deep/er/file", make([]byte, 1<<20), 0o600), os.Link(at+"/deep/er/file", at+"/again"),
		os.MkdirAll(v.ContainerDir("u", "a"), 0o755), os.WriteFile(v.ContainerDir("u", "a")+"/0.log", make([]byte, 1<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	after := v.Usage(t.Context(), p)
	for what, grew := range map[string]int64{"the folder": after.Volumes["e"] - before.Volumes["e"], "the log": after.Containers["a"] - before.Containers["a"]} {
		if grew < 1<<20 || grew > 1<<20+64<<10 {
			t.Errorf("%s grew by %d bytes, want a little over a MiB", what, grew)
		}
	}
	if _, ok := after.Volumes["h"]; ok || len(after.Volumes) != 1 {
		t.Errorf("measured are %v", after.Volumes)
	}
}

func TestAVolumeThatIsAnImageIsWhereItWasMounted(t *testing.T) {
	c, v := newCluster(t), plain(t)
	shown := t.TempDir()
	w := c.world()
	p := parse(t, `{volumes: [{name: m, image: {reference: "model:v1"}}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}]}]}`)
	if _, err := v.Make(p, w); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Mounts(p, &p.Spec.Containers[0], 0, w); err == nil || !strings.Contains(err.Error(), `volume "m": its image model:v1 is not mounted`) {
		t.Errorf("before it was mounted the error is %v", err)
	}
	w.Images = []runtime.ImageMount{{Volume: "x", Path: "/elsewhere"}, {Volume: "m", Path: shown}}
	mounts, err := v.Mounts(p, &p.Spec.Containers[0], 0, w)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(runtime.Mount{Source: shown, Target: "/m", ReadOnly: true}, mounts[0]); diff != "" {
		t.Error(diff)
	}
	p.Spec.Containers[0].VolumeMounts[0].SubPath = "made/on/demand"
	if _, err := v.Mounts(p, &p.Spec.Containers[0], 0, w); err == nil || len(entries(t, shown)) > 0 {
		t.Errorf("what the image lacks is made: %v, %v", err, entries(t, shown))
	}
}
