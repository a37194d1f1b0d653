package pod

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// supported are all fields of pods that something acts upon: this node, or, where it says so, the scheduler, the API or
// another controller. Those that Unsupported names are below. A field of neither list is one that nobody thought of.
var supported = map[reflect.Type]string{
	reflect.TypeFor[corev1.PodSpec](): `volumes initContainers containers restartPolicy terminationGracePeriodSeconds dnsPolicy
		hostNetwork securityContext imagePullSecrets hostname subdomain hostAliases dnsConfig readinessGates enableServiceLinks hostnameOverride
		nodeName nodeSelector affinity schedulerName tolerations priorityClassName priority preemptionPolicy topologySpreadConstraints schedulingGates
		serviceAccountName serviceAccount automountServiceAccountToken activeDeadlineSeconds ephemeralContainers setHostnameAsFQDN hostPID hostIPC
		shareProcessNamespace runtimeClassName overhead resources`,
	reflect.TypeFor[corev1.Container](): `name image command args workingDir ports envFrom env resources volumeMounts livenessProbe readinessProbe
		startupProbe terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext resizePolicy lifecycle
		restartPolicy restartPolicyRules stdin stdinOnce tty`,
	reflect.TypeFor[corev1.SecurityContext](): `capabilities privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem
		allowPrivilegeEscalation seccompProfile procMount appArmorProfile seLinuxOptions`,
	reflect.TypeFor[corev1.PodSecurityContext]():   `runAsUser runAsGroup runAsNonRoot supplementalGroups fsGroup fsGroupChangePolicy seccompProfile sysctls supplementalGroupsPolicy appArmorProfile seLinuxOptions seLinuxChangePolicy`,
	reflect.TypeFor[corev1.VolumeSource]():         `hostPath emptyDir secret downwardAPI configMap projected image persistentVolumeClaim ephemeral`,
	reflect.TypeFor[corev1.ImageVolumeSource]():    `reference pullPolicy`,
	reflect.TypeFor[corev1.VolumeMount]():          `name readOnly mountPath subPath subPathExpr recursiveReadOnly mountPropagation`,
	reflect.TypeFor[corev1.Probe]():                `initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold terminationGracePeriodSeconds`,
	reflect.TypeFor[corev1.ProbeHandler]():         `exec httpGet tcpSocket grpc`,
	reflect.TypeFor[corev1.Lifecycle]():            `postStart preStop stopSignal`,
	reflect.TypeFor[corev1.LifecycleHandler]():     `exec httpGet tcpSocket sleep`,
	reflect.TypeFor[corev1.ContainerRestartRule](): `exitCodes`,
	reflect.TypeFor[corev1.GRPCAction]():           `port service mode`,
	reflect.TypeFor[corev1.HTTPGetAction]():        `path port host scheme httpHeaders`,
	reflect.TypeFor[corev1.EnvVarSource]():         `fieldRef resourceFieldRef configMapKeyRef secretKeyRef`,
	reflect.TypeFor[corev1.VolumeProjection]():     `secret downwardAPI configMap serviceAccountToken`,
	reflect.TypeFor[corev1.EmptyDirVolumeSource](): `mode sizeLimit`,
	reflect.TypeFor[corev1.ContainerPort]():        `name containerPort protocol hostPort hostIP`,
	reflect.TypeFor[corev1.ResourceRequirements](): `limits requests`,
}

// refused is, for each of the other fields, a pod that Unsupported must refuse for it, or "ignored: why".
var refused = map[string]string{
	"PodSpec.os":                 `{os: {name: windows}, containers: [{name: a}]}`,
	"PodSpec.hostUsers":          `{hostUsers: false, containers: [{name: a}]}`,
	"PodSpec.resourceClaims":     `{resourceClaims: [{name: x}], containers: [{name: a}]}`,
	"PodSpec.schedulingGroup":    `{schedulingGroup: {}, containers: [{name: a}]}`,
	"PodSpec.evictionResponders": `{evictionResponders: [{}], containers: [{name: a}]}`,

	"ContainerRestartRule.action": `{containers: [{name: a, restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers}]}]}`,
	"Container.volumeDevices":     `{containers: [{name: a, volumeDevices: [{name: x}]}]}`,

	"SecurityContext.windowsOptions": `{containers: [{name: a, securityContext: {windowsOptions: {}}}]}`,

	"PodSecurityContext.windowsOptions": `{securityContext: {windowsOptions: {}}, containers: [{name: a}]}`,

	"VolumeMount.bindMountOptions": `{containers: [{name: a, volumeMounts: [{name: v, mountPath: /v, bindMountOptions: [noexec]}]}]}`,

	"HTTPGetAction.protocol":  `{containers: [{name: a, readinessProbe: {httpGet: {port: 1, protocol: HTTP2}}}]}`,
	"EnvVarSource.fileKeyRef": `{containers: [{name: a, env: [{name: X, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: k}}}]}]}`,

	"VolumeProjection.clusterTrustBundle": `{volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {path: t}}]}}], containers: [{name: a}]}`,
	"VolumeProjection.podCertificate":     `{volumes: [{name: v, projected: {sources: [{podCertificate: {}}]}}], containers: [{name: a}]}`,
	"EmptyDirVolumeSource.medium":         `{volumes: [{name: v, emptyDir: {medium: HugePages}}], containers: [{name: a}]}`,
	"ResourceRequirements.claims":         `{containers: [{name: a, resources: {claims: [{name: x}]}}]}`,
}

func TestEveryFieldOfAPodIsActedUponOrRefused(t *testing.T) {
	for typ, list := range supported {
		names := strings.Fields(list)
		for i := range typ.NumField() {
			f := typ.Field(i)
			name := jsonName(f)
			switch spec, ok := refused[typ.Name()+"."+name]; {
			case f.Anonymous || slices.Contains(names, name):
			case typ == reflect.TypeFor[corev1.VolumeSource]():
				checkVolumeRefused(t, f)
			case !ok:
				t.Errorf("%s.%s: nobody thought of it", typ.Name(), name)
			default:
				refuses(t, spec, name)
			}
		}
	}
}

func TestHostPortsAreRefusedWhereTheyCannotBeLed(t *testing.T) {
	refuses(t, `{containers: [{name: a, ports: [{containerPort: 1, hostPort: 1, protocol: SCTP}]}]}`, "protocol")
	refuses(t, `{containers: [{name: a, ports: [{containerPort: 1, hostPort: 1, hostIP: "fd00::1"}]}]}`, "hostIP")
}

func refuses(t *testing.T, spec, name string) {
	t.Helper()
	errs := Unsupported(&parse(t, spec).Spec)
	if len(errs) != 1 || !strings.HasSuffix(strings.SplitN(errs[0].Field, "[0].", 2)[0], name) && !strings.HasSuffix(errs[0].Field, name) {
		t.Errorf("%s is refused with %v", spec, errs)
	}
}

// checkVolumeRefused checks that a kind of volume is refused by name.
func checkVolumeRefused(t *testing.T, f reflect.StructField) {
	t.Helper()
	var v corev1.Volume
	reflect.ValueOf(&v.VolumeSource).Elem().FieldByIndex(f.Index).Set(reflect.New(f.Type.Elem()))
	errs := Unsupported(&corev1.PodSpec{Volumes: []corev1.Volume{v}})
	if len(errs) != 1 || errs[0].Field != "volumes[0]."+jsonName(f) {
		t.Errorf("a volume of kind %s is refused with %v", jsonName(f), errs)
	}
}

func TestAPodThatAsksForNothingUnusualIsNotRefused(t *testing.T) {
	if errs := Unsupported(&parse(t, `{automountServiceAccountToken: false, hostUsers: true, os: {name: linux}, containers: [{name: a,
	  resources: {requests: {cpu: 1, memory: 1Mi, ephemeral-storage: 1Gi}}, securityContext: {procMount: Default, seccompProfile: {type: RuntimeDefault}}}],
	  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]}`).Spec); len(errs) > 0 {
		t.Error(errs)
	}
}
