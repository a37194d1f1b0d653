package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// readSeeds reads the hand-picked objects, by kind.
func readSeeds(dir string) (map[schema.GroupVersionKind][]map[string]any, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no objects in %s", dir))
	}
	all := map[schema.GroupVersionKind][]map[string]any{}
	for _, file := range files {
		if err := readFile(file, all); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
	}
	return all, nil
}

func readFile(file string, all map[schema.GroupVersionKind][]map[string]any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	d := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		var u unstructured.Unstructured
		switch err := d.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case u.Object == nil:
			continue
		}
		all[u.GroupVersionKind()] = append(all[u.GroupVersionKind()], u.Object)
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// without are the names of fields that v does not have.
func without[T any](fields map[string]T, v map[string]any) []string {
	var absent []string
	for _, name := range sorted(fields) {
		if _, ok := v[name]; !ok {
			absent = append(absent, name)
		}
	}
	return absent
}

func copied(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for k, e := range v {
			c[k] = copied(e)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = copied(e)
		}
		return c
	}
	return v
}

// vocabulary are right words for fields that the hand-picked objects do not exhaust.
var vocabulary = map[string][]string{
	"restartPolicy":                 {"Always", "OnFailure", "Never"},
	"dnsPolicy":                     {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
	"imagePullPolicy":               {"Always", "IfNotPresent", "Never"},
	"protocol":                      {"TCP", "UDP", "SCTP"},
	"operator":                      {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Equal"},
	"effect":                        {"NoSchedule", "PreferNoSchedule", "NoExecute"},
	"type":                          {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "RollingUpdate", "Recreate", "OnDelete", "Directory", "File", "Utilization", "AverageValue", "Resource", "Opaque", "RuntimeDefault", "Localhost", "Unconfined"},
	"whenUnsatisfiable":             {"DoNotSchedule", "ScheduleAnyway"},
	"concurrencyPolicy":             {"Allow", "Forbid", "Replace"},
	"completionMode":                {"NonIndexed", "Indexed"},
	"podManagementPolicy":           {"OrderedReady", "Parallel"},
	"pathType":                      {"Exact", "Prefix", "ImplementationSpecific"},
	"policyTypes":                   {"Ingress", "Egress"},
	"accessModes":                   {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
	"persistentVolumeReclaimPolicy": {"Retain", "Delete", "Recycle"},
	"reclaimPolicy":                 {"Retain", "Delete", "Recycle"},
	"volumeBindingMode":             {"Immediate", "WaitForFirstConsumer"},
	"volumeMode":                    {"Filesystem", "Block"},
	"sessionAffinity":               {"None", "ClientIP"},
	"externalTrafficPolicy":         {"Cluster", "Local"},
	"internalTrafficPolicy":         {"Cluster", "Local"},
	"ipFamilyPolicy":                {"SingleStack", "PreferDualStack", "RequireDualStack"},
	"ipFamilies":                    {"IPv4", "IPv6"},
	"schedule":                      {"*/5 * * * *", "@hourly", "0 0 31 2 *", "61 * * * *", "CRON_TZ=UTC * * * * *"},
	"timeZone":                      {"Europe/Berlin", "UTC", "Local", "Nowhere/Town"},
	"resource":                      {"cpu", "memory", "limits.cpu", "requests.memory"},
	"fieldPath":                     {"metadata.name", "metadata.labels['a']", "spec.nodeName", "status.podIP", "metadata.labels"},
	"scopes":                        {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass"},
	"scopeName":                     {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"},
	"preemptionPolicy":              {"PreemptLowerPriority", "Never"},
	"unhealthyPodEvictionPolicy":    {"IfHealthyBudget", "AlwaysAllow"},
	"failurePolicy":                 {"Fail", "Ignore"},
	"matchPolicy":                   {"Exact", "Equivalent"},
	"sideEffects":                   {"None", "NoneOnDryRun", "Some", "Unknown"},
	"scope":                         {"*", "Cluster", "Namespaced"},
	"operations":                    {"CREATE", "UPDATE", "DELETE", "CONNECT", "*"},
	"mountPropagation":              {"None", "HostToContainer", "Bidirectional"},
	"terminationMessagePolicy":      {"File", "FallbackToLogsOnError"},
	"action":                        {"FailJob", "Ignore", "Count", "FailIndex"},
	"whenDeleted":                   {"Retain", "Delete"},
	"whenScaled":                    {"Retain", "Delete"},
	"podReplacementPolicy":          {"TerminatingOrFailed", "Failed"},
	"addressType":                   {"IPv4", "IPv6", "FQDN"},
	"procMount":                     {"Default", "Unmasked"},
	"fsGroupChangePolicy":           {"OnRootMismatch", "Always"},
	"scheme":                        {"HTTP", "HTTPS"},
	"topologyKey":                   {"kubernetes.io/hostname", "topology.kubernetes.io/zone"},
	"verbs":                         {"get", "list", "*"},
	"selectPolicy":                  {"Max", "Min", "Disabled"},
	"divisor":                       {"1", "1m", "1Mi", "0"},
}
