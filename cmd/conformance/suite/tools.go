//go:build tools

// Package suite is Kubernetes' conformance suite and what its tests run, in a module of its own: k8s.io/kubernetes is
// no part of Mainstay.
package suite

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
	_ "k8s.io/kubernetes/test/images/nonewprivs"
	_ "k8s.io/sample-apiserver"
)
