package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

func BenchmarkDecide(b *testing.B) {
	p := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte(`{metadata: {name: web, uid: u}, spec: {restartPolicy: Always, containers: [{name: a, image: img, readinessProbe: {tcpSocket: {port: 1}}}, {name: b, image: img}]}}`), p); err != nil {
		b.Fatal(err)
	}
	seen := up(a("a", 0, runtime.Running), a("b", 0, runtime.Running))
	p.Status = Decide(p, seen, now).Status
	b.ReportAllocs()
	for b.Loop() {
		if n := Decide(p, seen, now); len(n.Steps) > 0 {
			b.Fatal(say(n))
		}
	}
}
