package validate

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of Jobs, that keep the text of their indexes short.
const (
	mostIndexes      = 100_000
	mostIndexesOfBig = 10_000
	longestManagedBy = 63
)

// Job validates a new Job.
func (v Rules) Job(j *batchv1.Job) field.ErrorList {
	errs := metadata(&j.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, generatedSelector(j)...)
	errs = append(errs, v.jobWithSelector(&j.Spec)...)
	return append(errs, jobHostname(j)...)
}

// JobUpdate keeps all by which the pods that exist were made and are counted.
func (v Rules) JobUpdate(new, old *batchv1.Job) field.ErrorList {
	path := root("spec")
	n, o := &new.Spec, &old.Spec
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, v.jobWithSelector(n)...)
	errs = append(errs, completionsUpdate(n, o, path.Child("completions"))...)
	errs = append(errs, immutable(n.Selector, o.Selector, path.Child("selector"))...)
	errs = append(errs, jobTemplateUpdate(n, old, path.Child("template"))...)
	errs = append(errs, immutable(n.CompletionMode, o.CompletionMode, path.Child("completionMode"))...)
	errs = append(errs, immutable(n.PodFailurePolicy, o.PodFailurePolicy, path.Child("podFailurePolicy"))...)
	errs = append(errs, immutable(n.BackoffLimitPerIndex, o.BackoffLimitPerIndex, path.Child("backoffLimitPerIndex"))...)
	errs = append(errs, immutable(n.ManagedBy, o.ManagedBy, path.Child("managedBy"))...)
	errs = append(errs, immutable(n.SuccessPolicy, o.SuccessPolicy, path.Child("successPolicy"))...)
	return append(errs, jobHostname(new)...)
}

// generatedSelector must not have been spoiled by labels that the user chose.
func generatedSelector(j *batchv1.Job) field.ErrorList {
	if isTrue(j.Spec.ManualSelector) || j.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	if j.UID == "" {
		errs = append(errs, field.Required(root("metadata").Child("uid"), ""))
	}
	path := root("spec").Child("template", "metadata")
	want := labels.Set{}
	for _, l := range []struct{ key, value string }{
		{"controller-uid", string(j.UID)}, {"job-name", j.Name},
		{batchv1.ControllerUidLabel, string(j.UID)}, {batchv1.JobNameLabel, j.Name},
	} {
		want[l.key] = l.value
		errs = append(errs, hasLabel(&j.Spec.Template.ObjectMeta, path, l.key, l.value)...)
	}
	if s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !s.Matches(want) {
		errs = append(errs, field.Invalid(root("spec").Child("selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

func hasLabel(m *metav1.ObjectMeta, path *field.Path, key, value string) field.ErrorList {
	path = path.Child("labels")
	switch got, ok := m.Labels[key]; {
	case !ok:
		return field.ErrorList{field.Required(path.Key(key), fmt.Sprintf("must be '%s'", value))}
	case got != value:
		return field.ErrorList{field.Invalid(path.Key(key), m.Labels, fmt.Sprintf("must be '%s'", value))}
	}
	return nil
}

// jobHostname: an index and its name must make a host name together.
func jobHostname(j *batchv1.Job) field.ErrorList {
	if n := j.Spec.Completions; indexed(&j.Spec) && n != nil && *n > 0 {
		if longest := fmt.Sprintf("%s-%d", j.Name, *n-1); len(valid.IsDNS1123Label(longest)) > 0 {
			return field.ErrorList{field.Invalid(root("metadata").Child("name"), j.Name, "will not able to create pod with invalid DNS label: "+longest)}
		}
	}
	return nil
}

func (v Rules) jobWithSelector(s *batchv1.JobSpec) field.ErrorList {
	path := root("spec")
	errs := v.jobSpec(s, path)
	if s.Selector == nil {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	} else {
		errs = append(errs, selector(s.Selector, path.Child("selector"))...)
	}
	if sel, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && !sel.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	return errs
}

// jobSpec is for Jobs and for the templates of CronJobs.
func (v Rules) jobSpec(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, n := range []struct {
		name  string
		value *int32
	}{
		{"parallelism", s.Parallelism}, {"completions", s.Completions}, {"backoffLimit", s.BackoffLimit},
		{"ttlSecondsAfterFinished", s.TTLSecondsAfterFinished}, {"backoffLimitPerIndex", s.BackoffLimitPerIndex}, {"maxFailedIndexes", s.MaxFailedIndexes},
	} {
		if n.value != nil {
			errs = append(errs, notNegative(*n.value, path.Child(n.name))...)
		}
	}
	if n := s.ActiveDeadlineSeconds; n != nil {
		errs = append(errs, notNegative(*n, path.Child("activeDeadlineSeconds"))...)
	}
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(path.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if m := s.ManagedBy; m != nil {
		errs = append(errs, valid.IsDomainPrefixedPath(path.Child("managedBy"), *m)...)
		if len(*m) > longestManagedBy {
			errs = append(errs, field.TooLong(path.Child("managedBy"), "", longestManagedBy))
		}
	}
	if s.Scheduling != nil {
		errs = append(errs, field.Forbidden(path.Child("scheduling"), "is not supported yet"))
	}
	errs = append(errs, completionMode(s, path)...)
	errs = append(errs, failurePolicy(s, path.Child("podFailurePolicy"))...)
	errs = append(errs, successPolicy(s, path.Child("successPolicy"))...)
	errs = append(errs, replacementPolicy(s, path.Child("podReplacementPolicy"))...)
	errs = append(errs, v.podTemplate(&s.Template, path.Child("template"))...)
	return append(errs, jobRestarts(s, path.Child("template", "spec", "restartPolicy"))...)
}

func indexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

func isTrue(b *bool) bool { return b != nil && *b }

func completionMode(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	errs := maybe(s.CompletionMode, path.Child("completionMode"), batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	if indexed(s) {
		return append(errs, indexedMode(s, path)...)
	}
	if n := s.BackoffLimitPerIndex; n != nil {
		errs = append(errs, field.Invalid(path.Child("backoffLimitPerIndex"), *n, "requires indexed completion mode"))
	}
	if n := s.MaxFailedIndexes; n != nil {
		errs = append(errs, field.Invalid(path.Child("maxFailedIndexes"), *n, "requires indexed completion mode"))
	}
	return errs
}

func indexedMode(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	const mode = batchv1.IndexedCompletion
	parallelism, failed := path.Child("parallelism"), path.Child("maxFailedIndexes")
	if s.Completions == nil {
		errs = append(errs, field.Required(path.Child("completions"), "when completion mode is "+string(mode)))
	}
	if n := s.Parallelism; n != nil && *n > mostIndexes {
		errs = append(errs, field.Invalid(parallelism, *n, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", mostIndexes, mode)))
	}
	if n := s.MaxFailedIndexes; n != nil && s.Completions != nil && *n > *s.Completions {
		errs = append(errs, field.Invalid(failed, *n, "must be less than or equal to completions"))
	}
	if n := s.MaxFailedIndexes; n != nil && *n > mostIndexes {
		errs = append(errs, field.Invalid(failed, *n, fmt.Sprintf("must be less than or equal to %d", mostIndexes)))
	}
	if s.Completions == nil || *s.Completions <= mostIndexes || s.BackoffLimitPerIndex == nil {
		return errs
	}
	big := fmt.Sprintf("must be less than or equal to %d when completions are above %d and used with backoff limit per index", mostIndexesOfBig, mostIndexes)
	if s.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(failed, fmt.Sprintf("must be specified when completions is above %d", mostIndexes)))
	} else if n := *s.MaxFailedIndexes; n > mostIndexesOfBig {
		errs = append(errs, field.Invalid(failed, n, big))
	}
	if n := s.Parallelism; n != nil && *n > mostIndexesOfBig {
		errs = append(errs, field.Invalid(parallelism, *n, big))
	}
	return errs
}

// jobRestarts: the pods of a Job end.
func jobRestarts(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	const onFailure, never = corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	switch policy := s.Template.Spec.RestartPolicy; {
	case policy == "" || policy == corev1.RestartPolicyAlways:
		return field.ErrorList{field.Required(path, fmt.Sprintf("valid values: %q, %q", onFailure, never))}
	case policy != onFailure && policy != never:
		return field.ErrorList{field.NotSupported(path, policy, []corev1.RestartPolicy{onFailure, never})}
	case s.PodFailurePolicy != nil && policy != never:
		return field.ErrorList{field.Invalid(path, policy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", never))}
	}
	return nil
}

// completionsUpdate: an indexed Job can grow and shrink, if its parallelism goes with it.
func completionsUpdate(new, old *batchv1.JobSpec, path *field.Path) field.ErrorList {
	if !indexed(new) {
		return immutable(new.Completions, old.Completions, path)
	}
	if same(new.Completions, old.Completions) || new.Completions == nil || new.Parallelism != nil && *new.Completions == *new.Parallelism {
		return nil
	}
	return field.ErrorList{field.Invalid(path, new.Completions, "can only be modified in tandem with "+strings.TrimSuffix(path.String(), ".completions")+".parallelism")}
}

// jobTemplateUpdate: while a Job is suspended and nothing of it runs, where its pods may run and what they may use can change.
func jobTemplateUpdate(new *batchv1.JobSpec, job *batchv1.Job, path *field.Path) field.ErrorList {
	old := job.Spec.Template.DeepCopy()
	if isTrue(job.Spec.Suspend) && (job.Status.StartTime == nil || jobHas(job, batchv1.JobSuspended)) && job.Status.Active == 0 {
		allowWhere(old, &new.Template)
		allowResources(old.Spec.Containers, new.Template.Spec.Containers)
		allowResources(old.Spec.InitContainers, new.Template.Spec.InitContainers)
	}
	return immutable(&new.Template, old, path)
}

// allowWhere takes over what of new says where pods may run.
func allowWhere(old, new *corev1.PodTemplateSpec) {
	switch o, n := old.Spec.Affinity, new.Spec.Affinity; {
	case n == nil && o != nil:
		o.NodeAffinity = nil
		if *o == (corev1.Affinity{}) {
			old.Spec.Affinity = nil
		}
	case n != nil && o == nil:
		old.Spec.Affinity = &corev1.Affinity{NodeAffinity: n.NodeAffinity}
	case n != nil:
		o.NodeAffinity = n.NodeAffinity
	}
	old.Spec.NodeSelector, old.Spec.Tolerations, old.Spec.SchedulingGates = new.Spec.NodeSelector, new.Spec.Tolerations, new.Spec.SchedulingGates
	old.Labels, old.Annotations = new.Labels, new.Annotations
}

func allowResources(old, new []corev1.Container) {
	if len(old) != len(new) {
		return
	}
	for i := range old {
		if old[i].Name == new[i].Name {
			old[i].Resources = new[i].Resources
		}
	}
}
