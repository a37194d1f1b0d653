package patch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	b := newBench(t)
	const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: %R, selector: {matchLabels: {app: web}}, template: {spec: {containers: [%C]}}}}`
	of := func(replicas, containers string) string {
		return strings.NewReplacer("%R", replicas, "%C", containers).Replace(deployment)
	}
	for _, row := range []struct {
		says, old, new string
		want           []string
	}{
		{"nothing", of("1", "{name: web, image: a}"), of("1", "{name: web, image: a}"), nil},
		{"an image and a number", of("1", "{name: web, image: hello:v1}"), of("2", "{name: web, image: hello:v2}"), []string{
			"spec.replicas: 1 -> 2",
			"spec.template.spec.containers[web].image: hello:v1 -> hello:v2",
		}},
		{"a container more, one less", of("1", "{name: a, image: x:1}"), of("1", "{name: b, image: x:1}"), []string{
			"- spec.template.spec.containers[a].image: x:1",
			"- spec.template.spec.containers[a].imagePullPolicy: IfNotPresent",
			"- spec.template.spec.containers[a].name: a",
			"- spec.template.spec.containers[a].terminationMessagePath: /dev/termination-log",
			"- spec.template.spec.containers[a].terminationMessagePolicy: File",
			"+ spec.template.spec.containers[b].image: x:1",
			"+ spec.template.spec.containers[b].imagePullPolicy: IfNotPresent",
			"+ spec.template.spec.containers[b].name: b",
			"+ spec.template.spec.containers[b].terminationMessagePath: /dev/termination-log",
			"+ spec.template.spec.containers[b].terminationMessagePolicy: File",
		}},
		{"only the order", of("1", "{name: a, image: x:1}, {name: b, image: x:1}"), of("1", "{name: b, image: x:1}, {name: a, image: x:1}"), []string{"spec.template.spec.containers: a, b -> b, a"}},
		{"lists and objects that are replaced as a whole", of("1", "{name: a, image: x:1, args: [a, b], env: [{name: X, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}"), of("1", "{name: a, image: x:1, args: [a, c], env: [{name: X, valueFrom: {configMapKeyRef: {name: c, key: l}}}]}"), []string{
			`spec.template.spec.containers[a].args: ["a","b"] -> ["a","c"]`,
			`spec.template.spec.containers[a].env[X].valueFrom.configMapKeyRef: {"key":"k","name":"c"} -> {"key":"l","name":"c"}`,
		}},
		{"ports by number and protocol", of("1", "{name: a, image: x:1, ports: [{containerPort: 80}]}"), of("1", "{name: a, image: x:1, ports: [{containerPort: 80, name: http}]}"), []string{
			`+ spec.template.spec.containers[a].ports[80/TCP].name: http`,
		}},
		{"labels whose names have dots, and long or odd texts", `{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {a.b/c: x}}, data: {a: "one\ntwo", b: ""}}`,
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: c, labels: {a.b/c: z}}, data: {a: "` + strings.Repeat("x", 100) + `", b: "1"}}`, []string{
				`data.a: "one\ntwo" -> ` + strings.Repeat("x", 80) + `...`,
				`data.b: "" -> 1`,
				`metadata.labels[a.b/c]: x -> z`,
			}},
		{"secrets are not shown", `{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter1}}, stringData: {gone: hunter1, password: hunter1, same: x}}`,
			`{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter2}}, stringData: {new: hunter2, password: hunter2, same: x}}`, []string{
				"- data.gone: ***", "+ data.new: ***", "data.password: ***",
			}},
		{"the status and the system's fields are no difference", `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: a}}`, `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {nodeName: b}}`, []string{"spec.nodeName: a -> b"}},
	} {
		t.Run(row.says, func(t *testing.T) {
			old, new := b.apply(nil, row.old, "a", false), b.apply(nil, row.new, "b", false)
			new.SetUID("u")
			new.SetGeneration(5)
			all, err := b.Diff(old, new)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range all {
				got = append(got, d.String())
			}
			if d := cmp.Diff(row.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiffOfTwoKinds(t *testing.T) {
	b := newBench(t)
	pod := b.apply(nil, `{apiVersion: v1, kind: Pod, metadata: {name: p}}`, "a", false)
	secret := b.apply(nil, `{apiVersion: v1, kind: Secret, metadata: {name: p}}`, "a", false)
	if d, err := b.Diff(pod, secret); err == nil {
		t.Errorf("there is a difference: %v", d)
	}
}
