package scheme

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func podFields(p *corev1.Pod, set fields.Set) {
	ip := p.Status.PodIP
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	ips := make([]string, len(p.Status.PodIPs))
	for i := range p.Status.PodIPs {
		ips[i] = p.Status.PodIPs[i].IP
	}
	set["spec.nodeName"] = p.Spec.NodeName
	set["spec.restartPolicy"] = string(p.Spec.RestartPolicy)
	set["spec.schedulerName"] = p.Spec.SchedulerName
	set["spec.serviceAccountName"] = p.Spec.ServiceAccountName
	set["spec.hostNetwork"] = strconv.FormatBool(p.Spec.HostNetwork)
	set["status.phase"] = string(p.Status.Phase)
	set["status.podIP"] = ip
	set["status.podIPs"] = strings.Join(ips, ",")
	set["status.nominatedNodeName"] = p.Status.NominatedNodeName
}

func eventFields(e *corev1.Event, set fields.Set) {
	o := e.InvolvedObject
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	set["involvedObject.kind"] = o.Kind
	set["involvedObject.namespace"] = o.Namespace
	set["involvedObject.name"] = o.Name
	set["involvedObject.uid"] = string(o.UID)
	set["involvedObject.apiVersion"] = o.APIVersion
	set["involvedObject.resourceVersion"] = o.ResourceVersion
	set["involvedObject.fieldPath"] = o.FieldPath
	set["reason"] = e.Reason
	set["reportingComponent"] = e.ReportingController
	set["source"] = source
	set["type"] = e.Type
}

func namespaceFields(n *corev1.Namespace, set fields.Set) {
	set["name"] = n.Name
	set["status.phase"] = string(n.Status.Phase)
}

func nodeFields(n *corev1.Node, set fields.Set) {
	set["spec.unschedulable"] = strconv.FormatBool(n.Spec.Unschedulable)
}

func serviceFields(s *corev1.Service, set fields.Set) {
	set["spec.clusterIP"] = s.Spec.ClusterIP
	set["spec.type"] = string(s.Spec.Type)
}

func replicaSetFields(r *appsv1.ReplicaSet, set fields.Set) {
	set["status.replicas"] = strconv.Itoa(int(r.Status.Replicas))
}
