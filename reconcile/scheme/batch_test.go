package scheme

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// job is a valid Job, with more in its spec.
func job(spec string) string {
	return `{apiVersion: batch/v1, kind: Job, metadata: {name: work, namespace: hello, uid: u}, spec: {manualSelector: true, selector: {matchLabels: {a: b}}, ` + spec + `
		template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}`
}

func TestJobsThatAreRefused(t *testing.T) {
	indexed := "completionMode: Indexed, completions: 5, "
	refuse(t, []refusal{
		{"nothing is wrong", job(""), nil},
		{"an indexed one", job(indexed + "backoffLimitPerIndex: 1, maxFailedIndexes: 2, successPolicy: {rules: [{succeededIndexes: '0,2-3', succeededCount: 2}]},"), nil},
		{"negative numbers", job("parallelism: -1, completions: -1, backoffLimit: -1, activeDeadlineSeconds: -1, ttlSecondsAfterFinished: -1,"), []string{
			"spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
			"spec.completions: Invalid value: -1: must be greater than or equal to 0",
			"spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
			"spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0",
		}},
		{"what only indexed ones have", job("backoffLimitPerIndex: 1, maxFailedIndexes: 2, successPolicy: {rules: []},"), []string{
			"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
			"spec.maxFailedIndexes: Invalid value: 2: requires indexed completion mode",
			`spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode`,
		}},
		{"rules of success that cannot be met", job(indexed + "successPolicy: {rules: [{}, {succeededIndexes: '3,1'}, {succeededIndexes: '0-1', succeededCount: 3}, {succeededCount: 6}]},"), []string{
			"spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
			`spec.successPolicy.rules[1].succeededIndexes: Invalid value: "3,1": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1`,
			"spec.successPolicy.rules[2].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
			"spec.successPolicy.rules[3].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)",
		}},
		{"rules of failure", job("podFailurePolicy: {rules: [{action: Panic}, {action: FailIndex, onExitCodes: {containerName: d, operator: In, values: [2, 0, 2]}}, {action: Count, onPodConditions: [{type: 'a b', status: Maybe}]}]},"), []string{
			`spec.podFailurePolicy.rules[0].action: Unsupported value: "Panic": supported values: "Count", "FailIndex", "FailJob", "Ignore"`,
			"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
			`spec.podFailurePolicy.rules[1].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set`,
			`spec.podFailurePolicy.rules[1].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template`,
			"spec.podFailurePolicy.rules[1].onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
			"spec.podFailurePolicy.rules[1].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
			"spec.podFailurePolicy.rules[1].onExitCodes.values[2]: Duplicate value: 2",
			`spec.podFailurePolicy.rules[2].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"`,
			`spec.podFailurePolicy.rules[2].onPodConditions[0].type: Invalid value: "a b": name part`,
		}},
		{"pods that never end", strings.Replace(job(""), "restartPolicy: Never, ", "", 1), []string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		{"a selector that is another's", strings.Replace(job(""), "matchLabels: {a: b}", "matchLabels: {a: c}", 1), []string{
			"spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"}},
		{"a cron job", `{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick, namespace: hello}, spec: {schedule: "* * * *", timeZone: Nowhere/At, concurrencyPolicy: Maybe,
			jobTemplate: {spec: {manualSelector: true, selector: {matchLabels: {a: b}}, template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}}}`, []string{
			`spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"`,
			`spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"`,
			"spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
			`spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]`,
			`spec.timeZone: Invalid value: "Nowhere/At": unknown time zone Nowhere/At`,
		}},
		{"a budget of both kinds", `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b, namespace: hello}, spec: {minAvailable: -1, maxUnavailable: 101%, unhealthyPodEvictionPolicy: X}}`, []string{
			"spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
			"spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
			`spec.unhealthyPodEvictionPolicy: Unsupported value: "X": supported values: "AlwaysAllow", "IfHealthyBudget"`,
			`spec: Invalid value: {"minAvailable":-1,"maxUnavailable":"101%","unhealthyPodEvictionPolicy":"X"}: minAvailable and maxUnavailable cannot be both set`,
		}},
		{"an autoscaler", `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h, namespace: hello}, spec: {minReplicas: 5, maxReplicas: 3, scaleTargetRef: {kind: Deployment, apiVersion: apps/v1},
			metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}}], behavior: {scaleUp: {stabilizationWindowSeconds: 4000, policies: [{type: Pods, value: 0, periodSeconds: 2000}]}}}}`, []string{
			"spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800",
			"spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
			"spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600",
			"spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`",
			"spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
			"spec.scaleTargetRef.name: Required value",
		}},
	})
}

func TestANewJobHasASelectorOfItsOwn(t *testing.T) {
	s := New(Options{})
	o := object(t, s, `{apiVersion: batch/v1, kind: Job, metadata: {name: work, namespace: hello}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}`)
	k := s.Of(o)
	k.PrepareCreate(o, "uid-1", noon())
	j := o.(*batchv1.Job)
	want := map[string]string{"job-name": "work", "batch.kubernetes.io/job-name": "work", "controller-uid": "uid-1", "batch.kubernetes.io/controller-uid": "uid-1"}
	if d := cmp.Diff(want, j.Spec.Template.Labels); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want, j.Labels); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]string{"batch.kubernetes.io/controller-uid": "uid-1"}, j.Spec.Selector.MatchLabels); d != "" {
		t.Error(d)
	}
	if errs := k.Validate(j); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestAJobThatRunsKeepsItsTemplate(t *testing.T) {
	s := New(Options{})
	for _, row := range []struct{ says, old, new, want string }{
		{"its parallelism may change", "parallelism: 1,", "parallelism: 2,", ""},
		{"its completions may not", "completions: 1,", "completions: 2,", "spec.completions: Invalid value: 2: field is immutable"},
		{"those of an indexed one may, with its parallelism", "completionMode: Indexed, completions: 1, parallelism: 1,", "completionMode: Indexed, completions: 2, parallelism: 2,", ""},
		{"and not without", "completionMode: Indexed, completions: 1, parallelism: 1,", "completionMode: Indexed, completions: 2, parallelism: 1,", "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism"},
		{"its deadline may change", "", "activeDeadlineSeconds: 5,", ""},
		{"its policies may not", "", "podFailurePolicy: {rules: []}, podReplacementPolicy: Failed,", "spec.podFailurePolicy: Invalid value"},
	} {
		t.Run(row.says, func(t *testing.T) {
			old, next := object(t, s, job(row.old)), object(t, s, job(row.new))
			k := s.Of(old)
			k.Default(old)
			k.Default(next)
			next.SetResourceVersion("1")
			errs := k.ValidateUpdate(next, old).ToAggregate()
			if got := ""; row.want == "" && errs != nil || row.want != "" && (errs == nil || !strings.HasPrefix(errs.Error(), row.want)) {
				t.Errorf("%v%s, want %q", errs, got, row.want)
			}
		})
	}
	template := func(suspend bool, image, zone string) *batchv1.Job {
		o := object(t, s, job(""))
		s.Of(o).Default(o)
		j := o.(*batchv1.Job)
		j.ResourceVersion = "1"
		j.Spec.Suspend, j.Spec.Template.Spec.Containers[0].Image = &suspend, image
		if zone != "" {
			j.Spec.Template.Spec.NodeSelector = map[string]string{"zone": zone}
		}
		return j
	}
	k := s.Of(template(false, "x", ""))
	if errs := k.ValidateUpdate(template(true, "x", "a"), template(true, "x", "")); len(errs) > 0 {
		t.Errorf("where a suspended Job shall run may change: %v", errs)
	}
	for _, pair := range [][2]*batchv1.Job{{template(true, "y", ""), template(true, "x", "")}, {template(false, "x", "a"), template(false, "x", "")}} {
		if errs := k.ValidateUpdate(pair[0], pair[1]); len(errs) != 1 || errs[0].Field != "spec.template" {
			t.Errorf("a template that must not change: %v", errs)
		}
	}
}

func TestAutoscalersSayTheSameInBothVersions(t *testing.T) {
	s := New(Options{})
	o := object(t, s, `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h, namespace: hello, annotations: {mine: stays}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 9
  behavior: {scaleDown: {stabilizationWindowSeconds: 60, policies: [{type: Pods, value: 1, periodSeconds: 60}]}}
  metrics:
  - {type: ContainerResource, containerResource: {name: memory, container: c, target: {type: AverageValue, averageValue: 10Mi}}}
  - {type: External, external: {metric: {name: queue, selector: {matchLabels: {a: b}}}, target: {type: Value, value: '30'}}}
  - {type: Object, object: {describedObject: {kind: Service, name: web, apiVersion: v1}, metric: {name: hits}, target: {type: Value, value: '5'}}}
  - {type: Pods, pods: {metric: {name: hits}, target: {type: AverageValue, averageValue: '7'}}}
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}
status:
  currentReplicas: 3
  desiredReplicas: 4
  currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 70, averageValue: 70m}}}]
  conditions: [{type: ScalingActive, status: 'True', reason: ValidMetricFound, message: yes, lastTransitionTime: 2026-01-02T11:00:00Z}]
`)
	k := s.Of(o)
	k.Default(o)
	v := k.in(autoscalingv1.SchemeGroupVersion)
	old := v.New()
	v.convert(o, old)
	h := old.(*autoscalingv1.HorizontalPodAutoscaler)
	if n := h.Spec.TargetCPUUtilizationPercentage; n == nil || *n != 60 {
		t.Errorf("the share of processors is %v", n)
	}
	if n := h.Status.CurrentCPUUtilizationPercentage; n == nil || *n != 70 {
		t.Errorf("the present share of processors is %v", n)
	}
	if want := `[{"type":"ContainerResource","containerResource":{"name":"memory","targetAverageValue":"10Mi","container":"c"}}`; !strings.HasPrefix(h.Annotations[metricsNote], want[:len(want)-1]) {
		t.Errorf("%s\nis not %s...", h.Annotations[metricsNote], want)
	}
	back := &autoscalingv2.HorizontalPodAutoscaler{}
	v.convert(old, back)
	if !equality.Semantic.DeepEqual(o, store.Object(back)) {
		back.TypeMeta = o.(*autoscalingv2.HorizontalPodAutoscaler).TypeMeta
		if d := cmp.Diff(text(t, o), text(t, back)); d != "" {
			t.Error(d)
		}
	}
}

func TestColumnsOfWhatEndsAndScales(t *testing.T) {
	s := New(Options{})
	now := noon()
	const born = `creationTimestamp: "2026-01-01T11:00:00Z"`
	for _, row := range []struct{ says, yaml, want string }{
		{"a Job that runs", `{apiVersion: batch/v1, kind: Job, metadata: {name: j, ` + born + `}, spec: {completions: 3, template: {spec: {containers: [{name: c, image: x}]}}}, status: {startTime: "2026-01-01T11:50:00Z", succeeded: 1}}`,
			"j|Running|1/3|10m|60m|c|x|<none>"},
		{"a Job of a queue that is complete", `{apiVersion: batch/v1, kind: Job, metadata: {name: j, ` + born + `}, spec: {parallelism: 2}, status: {startTime: "2026-01-01T11:50:00Z", completionTime: "2026-01-01T11:51:00Z", succeeded: 2, conditions: [{type: SuccessCriteriaMet, status: "True"}, {type: Complete, status: "True"}]}}`,
			"j|Complete|2/1 of 2|60s|60m|||<none>"},
		{"a CronJob", `{apiVersion: batch/v1, kind: CronJob, metadata: {name: c, ` + born + `}, spec: {schedule: "* * * * *", suspend: false}, status: {lastScheduleTime: "2026-01-01T11:59:00Z", active: [{name: x}]}}`,
			"c|* * * * *|<none>|False|1|60s|60m|||<none>"},
		{"a budget", `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b, ` + born + `}, spec: {maxUnavailable: 20%}, status: {disruptionsAllowed: 2}}`, "b|N/A|20%|2|60m"},
		{"an autoscaler", `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: h, ` + born + `}, spec: {maxReplicas: 4, scaleTargetRef: {kind: Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {averageUtilization: 60}}}, {type: Resource, resource: {name: memory, target: {averageValue: 1Gi}}}, {type: Pods, pods: {metric: {name: x}, target: {averageValue: "1"}}}]}, status: {currentReplicas: 2, currentMetrics: [{type: Resource, resource: {name: cpu, current: {averageUtilization: 20}}}]}}`,
			"h|Deployment/web|cpu: 20%/60%, memory: <unknown>/1Gi + 1 more...|<unset>|4|2|60m"},
	} {
		o := object(t, s, row.yaml)
		var got []string
		for _, c := range s.Of(o).Cells(o, now) {
			got = append(got, fmt.Sprint(c))
		}
		if d := cmp.Diff(row.want, strings.Join(got, "|")); d != "" {
			t.Errorf("%s: %s", row.says, d)
		}
	}
}
