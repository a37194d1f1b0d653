package scheme

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/columns"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/defaults"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/validate"
)

// noFlows is told of what nobody heeds yet.
const noFlows = "the API limits requests in flight, and does not sort them by priority yet: this object is kept, and has no effect"

// flowKinds say which requests to the API go first. They are only kept yet.
func flowKinds() []*Kind {
	return []*Kind{
		typed(Kind{GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("FlowSchema"), Plural: "flowschemas", Status: true}, rules[*flowcontrolv1.FlowSchema]{
			defaults: defaults.FlowSchema, generation: true, warn: always[*flowcontrolv1.FlowSchema](noFlows),
			validate: validate.FlowSchema, update: validate.FlowSchemaUpdate, status: validate.FlowSchemaStatusUpdate, table: columns.FlowSchemas(),
		}),
		typed(Kind{GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration"), Plural: "prioritylevelconfigurations", Status: true}, rules[*flowcontrolv1.PriorityLevelConfiguration]{
			defaults: defaults.PriorityLevelConfiguration, generation: true, warn: always[*flowcontrolv1.PriorityLevelConfiguration](noFlows),
			validate: validate.PriorityLevelConfiguration, update: validate.PriorityLevelConfigurationUpdate, status: validate.PriorityLevelConfigurationStatusUpdate, table: columns.PriorityLevels(),
		}),
	}
}
