package static

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decode makes a pod of each line, which is its name and its image.
func decode(path string, data []byte) ([]*corev1.Pod, error) {
	var all []*corev1.Pod
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("%s: not a pod", path)
		}
		all = append(all, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: f[0]},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: f[1]}}},
		})
	}
	return all, nil
}

func TestAFolderIsFollowed(t *testing.T) {
	f := &Folder{Dir: filepath.Join(t.TempDir(), "manifests"), Node: "Here", Decode: decode}
	now := time.Now()
	write := func(name, text string) func() error {
		return func() error {
			now = now.Add(time.Second)
			path := filepath.Join(f.Dir, name)
			return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, now, now))
		}
	}
	remove := func(name string) func() error { return func() error { return os.Remove(filepath.Join(f.Dir, name)) } }
	uids := map[string]string{}
	for _, step := range []struct {
		name    string
		do      func() error
		pods    string
		wrong   string
		changed bool
	}{
		{"a folder that is not there is empty", func() error { return nil }, "", "", true},
		{"and stays so", func() error { return os.Mkdir(f.Dir, 0o700) }, "", "", false},
		{"a file is a pod, or several", write("a.yaml", "web v1\ndb v1\n"), "web-here db-here", "", true},
		{"what nobody touched is not read again", func() error { return nil }, "web-here db-here", "", false},
		{"hidden files, and those that are no manifests, do not count", write(".b.yaml", "x v1"), "web-here db-here", "", false},
		{"another name is another pod", write("b.json", "cache v1"), "web-here db-here cache-here", "", true},
		{"a file that is wrong leaves what it held, and the others", write("a.yaml", "web"), "web-here db-here cache-here", "a.yaml: not a pod", true},
		{"until it is right again", write("a.yaml", "web v2"), "web-here cache-here", "", true},
		{"of two pods of one name the first counts", write("c.yml", "web v1"), "web-here cache-here", "c.yml: pod hello/web-here is in a.yaml already", true},
		{"a file that is gone takes its pods with it", remove("a.yaml"), "cache-here web-here", "", true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		pods, wrong, changed := f.Read()
		var names []string
		for _, p := range pods {
			names = append(names, p.Name)
			if first, ok := uids[p.Name+p.Spec.Containers[0].Image]; ok && first != string(p.UID) {
				t.Errorf("%s: pod %s has another UID though nothing changed", step.name, p.Name)
			}
			uids[p.Name+p.Spec.Containers[0].Image] = string(p.UID)
		}
		err := errors.Join(wrong...)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if got := strings.Join(names, " "); got != step.pods || said != step.wrong || changed != step.changed {
			t.Errorf("%s: %q, %q, %v", step.name, got, said, changed)
		}
	}
	if uids["web-herev1"] == uids["web-herev2"] {
		t.Error("another image is the same pod")
	}
}

func TestAMirrorShowsItsPod(t *testing.T) {
	pods, _ := decode("a", []byte("web v1"))
	p, err := Adopt(pods[0], "here")
	if err != nil {
		t.Fatal(err)
	}
	m := Mirror(p)
	want := map[string]string{"kubernetes.io/config.mirror": string(p.UID), "kubernetes.io/config.hash": string(p.UID), "kubernetes.io/config.source": "file"}
	if d := cmp.Diff(want, m.Annotations); d != "" || m.UID != "" || m.Spec.NodeName != "here" {
		t.Errorf("%s\n%v", d, m)
	}
	if uid, ok := Mirrored(m); !ok || uid != p.UID {
		t.Errorf("it shows %q", uid)
	}
	if _, ok := Mirrored(p); ok {
		t.Error("the pod itself shows another")
	}
}
