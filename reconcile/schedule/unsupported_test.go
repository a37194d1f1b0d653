package schedule_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/schedule"
)

func TestWhatTheSchedulerCannotKeepIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		want       []string
	}{
		{"nothing of the kind", `{affinity: {nodeAffinity: {}}}`, nil},
		{"required affinity between pods", `{affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}}}`,
			[]string{"affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution"}},
		{"required anti-affinity", `{affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]}}}`,
			[]string{"affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"}},
		{"preferred anti-affinity changes nothing with one node", `{affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1}]}}}`, nil},
		{"spreading that must be kept, and that need not", `{topologySpreadConstraints: [{whenUnsatisfiable: ScheduleAnyway}, {whenUnsatisfiable: DoNotSchedule}]}`,
			[]string{"topologySpreadConstraints[1].whenUnsatisfiable"}},
		{"a priority class", `{priorityClassName: high}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var spec corev1.PodSpec
			if err := yaml.UnmarshalStrict([]byte(c.spec), &spec); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range schedule.Unsupported(&spec) {
				got = append(got, e.Field)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
