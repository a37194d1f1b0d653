package main

import (
	"testing"

	"github.com/mainstay-gitops/mainstay/nodes/volume"
	"github.com/mainstay-gitops/mainstay/reconcile/storage"
)

// The two floors do not know each other, and must mean the same.
func TestNodesAndControllersAgreeOnWhatVolumesAreFolders(t *testing.T) {
	if volume.Driver != storage.Driver || volume.FolderFinalizer != storage.FolderFinalizer {
		t.Errorf("nodes say %s and %s, controllers %s and %s", volume.Driver, volume.FolderFinalizer, storage.Driver, storage.FolderFinalizer)
	}
}
