package api

import (
	"runtime"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// The Kubernetes API that is served is that of the libraries it is made of.
const (
	kubernetesMajor = "1"
	kubernetesMinor = "37"
	gitVersion      = "v1.37.2"
)

// effectiveVersion is upstream's, but for what /version says.
type effectiveVersion struct {
	compatibility.EffectiveVersion
	release string
}

func newVersion(release string) compatibility.EffectiveVersion {
	return effectiveVersion{compatibility.NewEffectiveVersionFromString(kubernetesMajor+"."+kubernetesMinor, "", ""), release}
}

// Info is the answer of /version.
func (v effectiveVersion) Info() *version.Info {
	git := gitVersion + "+mainstay"
	if v.release != "" {
		git += "." + v.release
	}
	return &version.Info{
		Major: kubernetesMajor, Minor: kubernetesMinor, GitVersion: git,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}
