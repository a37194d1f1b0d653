package storage

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Source is what kind of volume v is, by the name of its field: "nfs", or for csi with the driver.
func Source(v *corev1.PersistentVolume) string {
	s := reflect.ValueOf(v.Spec.PersistentVolumeSource)
	for i := range s.NumField() {
		if !s.Field(i).IsNil() {
			name, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ",")
			if v.Spec.CSI != nil {
				name += " driver " + v.Spec.CSI.Driver
			}
			return name
		}
	}
	return "nothing"
}

// Mountable tells whether nodes can mount v: host paths, local volumes, and ours. Devices they cannot.
func Mountable(v *corev1.PersistentVolume) bool {
	files := v.Spec.VolumeMode == nil || *v.Spec.VolumeMode == corev1.PersistentVolumeFilesystem
	return files && (v.Spec.HostPath != nil || v.Spec.Local != nil || Ours(v))
}
