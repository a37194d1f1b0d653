package scheme

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFlowsThatAreRefused(t *testing.T) {
	schema := func(spec string) string {
		return "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: x}, spec: {" + spec + "}}"
	}
	level := func(spec string) string {
		return "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: x}, spec: {" + spec + "}}"
	}
	refuse(t, []refusal{
		{"a schema as most are", schema(`priorityLevelConfiguration: {name: p}, rules: [{subjects: [{kind: Group, group: {name: g}}], resourceRules: [{verbs: ["*"], apiGroups: [""], resources: [pods], namespaces: ["*"]}]}]`), nil},
		{"a bad one", schema(`matchingPrecedence: 10001, rules: [{subjects: [{kind: User, group: {name: g}}], nonResourceRules: [{verbs: [get, "*"], nonResourceURLs: []}]}, {}]`), []string{
			`spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000`,
			`spec.priorityLevelConfiguration.name: Required value: must reference a priority level`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value`,
			`spec.rules[0].nonResourceRules[0].verbs: Invalid value: ["get","*"]: if '*' is present, must not specify other verbs`,
			`spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'`,
			`spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'`,
			`spec.rules[1].subjects: Required value: subjects must contain at least one value`,
			`spec.rules[1]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty`,
		}},
		{"a level as most are", level(`type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}`), nil},
		{"a bad one, of more hands than queues", level(`type: Limited, limited: {lendablePercent: 101, limitResponse: {type: Queue, queuing: {queues: 2, handSize: 3}}}`), []string{
			`spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive`,
			`spec.limited.limitResponse.queuing.handSize: Invalid value: 3: should not be greater than queues (2)`}},
		{"one that is exempt and may not be", level(`type: Exempt`), []string{"spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if `name` is 'exempt'"}},
	})
}

func TestFlowColumns(t *testing.T) {
	s := New(Options{})
	now := time.Date(2026, 1, 1, 1, 0, 0, 0, time.UTC)
	const meta = `metadata: {name: x, creationTimestamp: "2026-01-01T00:00:00Z"}`
	for yaml, want := range map[string]string{
		`{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, ` + meta + `, spec: {priorityLevelConfiguration: {name: p}}}`:                                               "x|p|1000|<none>|60m|?",
		`{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, ` + meta + `, spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}}`: "x|Limited|30|64|8|50|60m",
	} {
		o := object(t, s, yaml)
		s.Default(o)
		var cells []string
		for _, c := range s.Of(o).Cells(o, now) {
			cells = append(cells, fmt.Sprint(c))
		}
		if d := cmp.Diff(want, strings.Join(cells, "|")); d != "" {
			t.Error(d)
		}
	}
}
