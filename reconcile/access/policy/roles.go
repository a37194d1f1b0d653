package policy

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

func clusterRoles() []*rbacv1.ClusterRole {
	return slices.Concat(userRoles(), discoveryRoles(), certificateRoles(), componentRoles(), nodeRoles())
}

// userRoles are what people are given.
func userRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", rules{}.may("*", "*", "*").visit("*", "*")),
		gathers("admin"),
		addsTo("admin", gathers("edit")),
		addsTo("edit", gathers("view")),
		addsTo("admin", clusterRole("system:aggregate-to-admin", rules{}.
			may("create", authorization, "localsubjectaccessreviews").
			may(full, rbacv1.GroupName, "rolebindings roles"))),
		addsTo("edit", clusterRole("system:aggregate-to-edit", editing())),
		addsTo("view", clusterRole("system:aggregate-to-view", viewing())),
	}
}

func editing() rules {
	return rules{}.
		may(view, core, "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy").
		may("impersonate", core, "serviceaccounts").
		may(write, core, "pods pods/attach pods/exec pods/portforward pods/proxy").
		may("create", core, "pods/eviction").
		may(write, core, "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy").
		may("create", core, "serviceaccounts/token").
		may(write, events, "events").
		may(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale").
		may(write, "autoscaling", "horizontalpodautoscalers").
		may(write, "batch", "cronjobs jobs").
		may(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale").
		may(write, "policy", "poddisruptionbudgets").
		may(write, networking, "ingresses networkpolicies").
		may(full, coordination, "leases")
}

func viewing() rules {
	return rules{}.
		may(view, core, "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status").
		may(view, core, "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status").
		may(view, core, "namespaces").
		may(view, events, "events").
		may(view, discovery, "endpointslices").
		may(view, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status").
		may(view, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status").
		may(view, "batch", "cronjobs cronjobs/status jobs jobs/status").
		may(view, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale").
		may(view, "policy", "poddisruptionbudgets poddisruptionbudgets/status").
		may(view, networking, "ingresses ingresses/status networkpolicies")
}

// discoveryRoles are what everybody may know.
func discoveryRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:basic-user", rules{}.
			may("create", authorization, "selfsubjectaccessreviews selfsubjectrulesreviews").
			may("create", authentication, "selfsubjectreviews")),
		clusterRole("system:discovery", rules{}.
			visit("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")),
		clusterRole("system:public-info-viewer", rules{}.visit("get", "/healthz /livez /readyz /version /version/")),
		clusterRole("system:service-account-issuer-discovery", rules{}.
			visit("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		clusterRole("system:monitoring", rules{}.
			visit("get", "/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz").
			may("get", core, "nodes/metrics")),
	}
}

func certificateRoles() []*rbacv1.ClusterRole {
	const requests = "certificatesigningrequests"
	request := func(kind string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:"+requests+":"+kind, rules{}.may("create", certificates, requests+"/"+kind))
	}
	approver := func(signer string) *rbacv1.ClusterRole {
		return clusterRole("system:certificates.k8s.io:"+signer+"-approver", rules{}.named("approve", certificates, "signers", "kubernetes.io/"+signer))
	}
	return []*rbacv1.ClusterRole{
		request("nodeclient"), request("selfnodeclient"),
		approver("kube-apiserver-client"), approver("kube-apiserver-client-kubelet"), approver("kubelet-serving"), approver("legacy-unknown"),
	}
}

// componentRoles are for programs of a cluster, those of others and Kubernetes' own.
func componentRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:auth-delegator", rules{}.
			may("create", authentication, "tokenreviews").
			may("create", authorization, "subjectaccessreviews")),
		clusterRole("system:heapster", rules{}.
			may(view, core, "events namespaces nodes pods").
			may(view, "extensions", "deployments")),
		clusterRole("system:kube-aggregator", rules{}.may(view, core, "endpoints services")),
		clusterRole("system:kube-controller-manager", managing()),
		clusterRole("system:kube-dns", rules{}.may("list watch", core, "endpoints services")),
		clusterRole("system:kube-scheduler", scheduling()),
		clusterRole("system:persistent-volume-provisioner", rules{}.
			may("create delete get list watch", core, "persistentvolumes").
			may("get list update watch", core, "persistentvolumeclaims").
			may(view, storage, "storageclasses").
			may("watch", core, "events").
			may("create patch update", events, "events")),
		clusterRole("system:volume-scheduler", rules{}.
			may("get list patch update watch", core, "persistentvolumes").
			may(view, storage, "storageclasses").
			may("get list patch update watch", core, "persistentvolumeclaims")),
	}
}

func managing() rules {
	return rules{}.
		may("create patch update", events, "events").
		may("create", coordination, "leases").
		named("get update", coordination, "leases", "kube-controller-manager").
		may("create", core, "secrets serviceaccounts").
		may("delete", core, "secrets").
		may("get", core, "configmaps namespaces secrets serviceaccounts").
		may("update", core, "secrets serviceaccounts").
		may("create", authentication, "tokenreviews").
		may("create", authorization, "subjectaccessreviews").
		may("list watch", "*", "*").
		may("create", core, "serviceaccounts/token")
}

func scheduling() rules {
	return rules{}.
		may("create patch update", events, "events").
		may("create", coordination, "leases").
		named("get list update watch", coordination, "leases", "kube-scheduler").
		may(full, coordination, "leasecandidates").
		may(view, core, "nodes").
		may("delete get list watch", core, "pods").
		may("create", core, "bindings pods/binding").
		may("patch update", core, "pods/status").
		may(view, core, "replicationcontrollers services").
		may(view, "apps extensions", "replicasets").
		may(view, "apps", "statefulsets").
		may(view, "policy", "poddisruptionbudgets").
		may(view, core, "persistentvolumeclaims persistentvolumes").
		may("create", authentication, "tokenreviews").
		may("create", authorization, "subjectaccessreviews").
		may(view, storage, "csinodes").
		may(view, storage, "volumeattachments").
		may(view, core, "namespaces").
		may(view, storage, "csidrivers").
		may(view, storage, "csistoragecapacities").
		may("update", core, "pods/finalizers")
}

// nodeRoles are for machines, and what runs on them.
func nodeRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:kubelet-api-admin", rules{}.
			may(view, core, "nodes").
			may("proxy", core, "nodes").
			may("*", core, "nodes/log nodes/metrics nodes/proxy nodes/stats").
			may("*", core, "nodes/configz nodes/healthz nodes/pods")),
		clusterRole("system:node", Node()),
		clusterRole("system:node-bootstrapper", rules{}.may("create get list watch", certificates, "certificatesigningrequests")),
		clusterRole("system:node-problem-detector", rules{}.
			may("get", core, "nodes").
			may("patch", core, "nodes/status").
			may("create patch update", events, "events")),
		clusterRole("system:node-proxier", rules{}.
			may("list watch", core, "endpoints services").
			may(view, core, "nodes").
			may("create patch update", events, "events").
			may("list watch", networking, "servicecidrs").
			may("list watch", discovery, "endpointslices")),
	}
}

// Node is what a node may at most; the node authorizer narrows it to what its pods need.
func Node() []rbacv1.PolicyRule {
	return rules{}.
		may("create", authentication, "tokenreviews").
		may("create", authorization, "localsubjectaccessreviews subjectaccessreviews").
		may(view, core, "services").
		may("create get list watch", core, "nodes").
		may("patch update", core, "nodes/status").
		may("patch update", core, "nodes").
		may("create patch update", events, "events").
		may(view, core, "pods").
		may("create delete", core, "pods").
		may("patch update", core, "pods/status").
		may("create", core, "pods/eviction").
		may(view, core, "configmaps secrets").
		may("get", core, "persistentvolumeclaims persistentvolumes").
		may("get", core, "endpoints").
		may("create get list watch", certificates, "certificatesigningrequests").
		may("create delete get patch update", coordination, "leases").
		may("get", storage, "volumeattachments").
		may("create", core, "serviceaccounts/token").
		may("get patch update", core, "persistentvolumeclaims/status").
		may(view, storage, "csidrivers").
		may("create delete get patch update", storage, "csinodes").
		may(view, "node.k8s.io", "runtimeclasses").
		may("get", core, "serviceaccounts")
}
