package validate

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the binary is alone on its machine

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// longestCronJob leaves room for the 11 letters that the names of its Jobs have more.
const longestCronJob = 52

// CronJob validates a new CronJob.
func (v Rules) CronJob(c *batchv1.CronJob) field.ErrorList {
	errs := metadata(&c.ObjectMeta, validation.NameIsDNSSubdomain)
	errs = append(errs, v.cronJobSpec(&c.Spec, nil)...)
	if len(c.Name) > longestCronJob {
		errs = append(errs, field.Invalid(root("metadata").Child("name"), c.Name, fmt.Sprintf("must be no more than %d characters", longestCronJob)))
	}
	return errs
}

// CronJobUpdate validates a CronJob that is there, of which all may change.
func (v Rules) CronJobUpdate(new, old *batchv1.CronJob) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), v.cronJobSpec(&new.Spec, &old.Spec)...)
}

// CronJobStatusUpdate takes any status.
func CronJobStatusUpdate(new, old *batchv1.CronJob) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}

func (v Rules) cronJobSpec(s, old *batchv1.CronJobSpec) field.ErrorList {
	path := root("spec")
	errs := cronSchedule(s, path.Child("schedule"))
	if n := s.StartingDeadlineSeconds; n != nil {
		errs = append(errs, notNegative(*n, path.Child("startingDeadlineSeconds"))...)
	}
	if s.TimeZone != nil && (old == nil || !same(s.TimeZone, old.TimeZone)) {
		errs = append(errs, timeZone(*s.TimeZone, path.Child("timeZone"))...)
	}
	switch s.ConcurrencyPolicy {
	case "":
		errs = append(errs, field.Required(path.Child("concurrencyPolicy"), ""))
	case batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent:
	default:
		errs = append(errs, field.NotSupported(path.Child("concurrencyPolicy"), s.ConcurrencyPolicy,
			[]batchv1.ConcurrencyPolicy{batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent}))
	}
	errs = append(errs, v.cronTemplate(&s.JobTemplate, path.Child("jobTemplate"))...)
	if n := s.SuccessfulJobsHistoryLimit; n != nil {
		errs = append(errs, notNegative(*n, path.Child("successfulJobsHistoryLimit"))...)
	}
	if n := s.FailedJobsHistoryLimit; n != nil {
		errs = append(errs, notNegative(*n, path.Child("failedJobsHistoryLimit"))...)
	}
	return errs
}

func (v Rules) cronTemplate(t *batchv1.JobTemplateSpec, path *field.Path) field.ErrorList {
	path = path.Child("spec")
	errs := v.jobSpec(&t.Spec, path)
	if s := t.Spec.Selector; s != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), s, "`selector` will be auto-generated"))
	}
	if isTrue(t.Spec.ManualSelector) {
		errs = append(errs, field.NotSupported(path.Child("manualSelector"), *t.Spec.ManualSelector, []string{"nil", "false"}))
	}
	return errs
}

func cronSchedule(s *batchv1.CronJobSpec, path *field.Path) field.ErrorList {
	if s.Schedule == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	if _, err := ParseSchedule(s.Schedule); err != nil {
		errs = append(errs, field.Invalid(path, s.Schedule, err.Error()))
	}
	if strings.Contains(s.Schedule, "TZ") {
		errs = append(errs, field.Invalid(path, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	}
	return errs
}

// ParseSchedule reads a schedule in the standard form of cron.
func ParseSchedule(text string) (s cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil { // the library panics at some that it cannot read
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	return cron.ParseStandard(text)
}

func timeZone(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Invalid(path, name, "timeZone must be nil or non-empty string")}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart(part) {
			return field.ErrorList{field.Invalid(path, name, "unknown time zone "+name)}
		}
	}
	var errs field.ErrorList
	if strings.EqualFold(name, "Local") {
		errs = append(errs, field.Invalid(path, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	}
	if _, err := time.LoadLocation(name); err != nil {
		errs = append(errs, field.Invalid(path, name, err.Error()))
	}
	return errs
}

// zonePart tells whether s can be a part of the name of a time zone: 1 to 14 letters, digits and some signs.
func zonePart(s string) bool {
	return len(s) >= 1 && len(s) <= 14 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_+", r)
	}) < 0
}
