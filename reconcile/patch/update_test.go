package patch

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestTheOtherPatches(t *testing.T) {
	b := newBench(t)
	const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1, template: {spec: {containers: [{name: a, image: "x:1"}, {name: b, image: "x:1"}]}}}}`
	for _, row := range []struct {
		says string
		how  types.PatchType
		data string
		want string // of the new owner
		has  []string
	}{
		{"a merge patch replaces lists", types.MergePatchType, `{"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"c","image":"z:1"}]}}}}`,
			`{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}}}}}}`,
			[]string{"replicas: 2", "name: c"}},
		{"a strategic merge patch merges them", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"b","image":"z:1"}]}}}}`,
			`{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"b\"}":{"f:image":{}}}}}}}`,
			[]string{"image: x:1", "image: z:1"}},
		{"a JSON patch says where", types.JSONPatchType, `[{"op":"replace","path":"/spec/replicas","value":5},{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`,
			`{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:replicas":{}}}`,
			[]string{"replicas: 5", "a: b"}},
	} {
		t.Run(row.says, func(t *testing.T) {
			live := b.apply(nil, deployment, "git", false)
			before := live.DeepCopyObject()
			got, err := b.Patch(live, row.how, []byte(row.data), "me", time.Unix(100, 0))
			if err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(live, before) {
				t.Error("the live object was changed")
			}
			lines := strings.Split(owners(got), "\n")
			if d := cmp.Diff("me Update at 100: "+row.want, lines[len(lines)-1]); d != "" {
				t.Error(d)
			}
			for _, part := range row.has {
				if !strings.Contains(b.text(got), part) {
					t.Errorf("%s is not in\n%s", part, b.text(got))
				}
			}
		})
	}
}

func TestPatchesThatChangeNothingOrCannotBe(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1"}}`, "git", false)
	for says, data := range map[string]string{"the same value": `{"data":{"a":"1"}}`, "nothing": `{}`} {
		if got, err := b.Patch(live, types.MergePatchType, []byte(data), "me", b.now()); err != nil || got != live {
			t.Errorf("%s: %v %v", says, got, err)
		}
	}
	for _, bad := range []struct {
		how  types.PatchType
		data string
	}{
		{types.MergePatchType, `{`}, {types.JSONPatchType, `[{"op":"replace","path":"/x/y","value":1}]`}, {types.JSONPatchType, `{}`},
		{types.StrategicMergePatchType, `[]`}, {types.MergePatchType, `{"data":1}`}, {types.ApplyPatchType, `{}`},
	} {
		if got, err := b.Patch(live, bad.how, []byte(bad.data), "me", b.now()); err == nil {
			t.Errorf("%s %s gave %v", bad.how, bad.data, got)
		}
	}
}

func TestAnUpdateOwnsWhatItChanged(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {a: "1", b: "2"}}`, "git", false)
	next := live.DeepCopyObject().(*corev1.ConfigMap)
	next.Data["a"] = "5"
	got, err := b.Update(live, next, "me", time.Unix(100, 0))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(`git Apply at 1: {"f:data":{"f:b":{}}}`+"\n"+`me Update at 100: {"f:data":{"f:a":{}}}`, owners(got)); d != "" {
		t.Error(d)
	}
}

func TestAnOwnerSignsOnce(t *testing.T) {
	b := newBench(t)
	scaler, err := NewOwner("scaler", corev1.SchemeGroupVersion, "", "data.a", "metadata.labels")
	if err != nil {
		t.Fatal(err)
	}
	status, err := NewOwner("agent", corev1.SchemeGroupVersion, "status", "status")
	if err != nil {
		t.Fatal(err)
	}
	o := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {b: "2"}}`, "git", false)
	for _, second := range []int64{50, 60} {
		scaler.Sign(o, time.Unix(second, 0))
		status.Sign(o, time.Unix(second+1, 0))
	}
	want := `git Apply at 1: {"f:data":{"f:b":{}}}` + "\n" + `scaler Update at 50: {"f:data":{"f:a":{}},"f:metadata":{"f:labels":{}}}` + "\n" + `agent Updatestatus at 51: {"f:status":{}}`
	if d := cmp.Diff(want, owners(o)); d != "" {
		t.Error(d)
	}
	other, err := NewOwner("scaler", corev1.SchemeGroupVersion, "", "data.b")
	if err != nil {
		t.Fatal(err)
	}
	other.Sign(o, time.Unix(70, 0))
	if !strings.Contains(owners(o), `scaler Update at 70: {"f:data":{"f:b":{}}}`) || strings.Contains(owners(o), "at 50") {
		t.Errorf("the entry of one owner was not replaced: %s", owners(o))
	}
}

func TestWhatAnOwnerSignedIsNotTakenFromHim(t *testing.T) {
	b := newBench(t)
	live := b.apply(nil, web, "git", false)
	scaler, err := NewOwner("scaler", live.GetObjectKind().GroupVersionKind().GroupVersion(), "", "spec.replicas")
	if err != nil {
		t.Fatal(err)
	}
	scaler.Sign(live, b.now())
	_, err = b.Apply(live, document(t, strings.Replace(web, "replicas: 3", "replicas: 4", 1)), "git", false, b.now())
	if got, _ := errors.AsType[Conflicts](err); !slices.Equal(got, Conflicts{{Field: "spec.replicas", Manager: "scaler"}}) {
		t.Errorf("got %v", err)
	}
}

func TestSigningLeavesTheStoredObjectAlone(t *testing.T) {
	b := newBench(t)
	stored := b.apply(nil, `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {b: "2"}}`, "git", false)
	w, err := NewOwner("me", corev1.SchemeGroupVersion, "", "data")
	if err != nil {
		t.Fatal(err)
	}
	before := owners(stored)
	next := shallow(stored)
	w.Sign(next, b.now())
	if owners(stored) != before {
		t.Errorf("it is now owned by %s", owners(stored))
	}
}

func BenchmarkSign(b *testing.B) {
	x := newBench(b)
	w, err := NewOwner("me", corev1.SchemeGroupVersion, "status", "status")
	if err != nil {
		b.Fatal(err)
	}
	o := x.apply(nil, web, "git", false)
	for b.Loop() {
		w.Sign(o, x.now())
	}
}

func BenchmarkDiff(b *testing.B) {
	x := newBench(b)
	old := x.apply(nil, web, "git", false)
	var next store.Object = x.apply(nil, strings.Replace(web, "hello:v1", "hello:v2", 1), "git", false)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Diff(old, next); err != nil {
			b.Fatal(err)
		}
	}
}
