package schedule

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Unsupported is all that a pod asks of the scheduler and it cannot do yet, each with the path of its field inside the spec
// and the reason. Preferences among nodes are not here: with a single node they change nothing.
func Unsupported(spec *corev1.PodSpec) (errs field.ErrorList) {
	not := func(path *field.Path, why string) {
		errs = append(errs, field.Forbidden(path, why+": not supported yet"))
	}
	if a := spec.Affinity; a != nil {
		path := field.NewPath("affinity")
		if a.PodAffinity != nil && len(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			not(path.Child("podAffinity", "requiredDuringSchedulingIgnoredDuringExecution"), "affinity between pods")
		}
		if a.PodAntiAffinity != nil && len(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) > 0 {
			not(path.Child("podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution"), "anti-affinity between pods")
		}
	}
	for i, c := range spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.DoNotSchedule {
			not(field.NewPath("topologySpreadConstraints").Index(i).Child("whenUnsatisfiable"), "spreading that must be kept (ScheduleAnyway is accepted)")
		}
	}
	return errs
}
