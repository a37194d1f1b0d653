// +k8s:deepcopy-gen=package
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=dev.mainstay.v1alpha1
// +groupName=mainstay.dev

// Package v1alpha1 holds Mainstay's own kinds, group mainstay.dev.
package v1alpha1
