package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/snapshots"

	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// UsedBy says which pods have containers or volumes of which images, for a person who looks, and also while no runtime is open: images
// by digest, and pods as namespace/name. runDir is that of the runtime.
func UsedBy(ctx context.Context, client *Client, runDir string) (map[string][]string, error) {
	records, err := client.ContainerService().List(client.in(ctx))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	users := map[string][]string{}
	use := func(image, uid string) {
		if pod := podName(runDir, uid); !slices.Contains(users[image], pod) {
			users[image] = append(users[image], pod)
		}
	}
	for _, record := range records {
		known, ok := record.Extensions[extension]
		if !ok {
			continue // somebody else made it
		}
		var c runtime.Container
		if err := json.Unmarshal(known.GetValue(), &c); err != nil {
			return nil, fmt.Errorf("read container %s: %w", record.ID, err)
		}
		use(c.ImageID, record.Labels[labelPod])
	}
	err = client.SnapshotService(snapshotter).Walk(client.in(ctx), func(_ context.Context, info snapshots.Info) error {
		if isVolume(info) {
			use(info.Labels[labelImageID], info.Labels[labelPod])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, pods := range users {
		slices.Sort(pods)
	}
	return users, nil
}

// podName is the UID, if no more is known of the pod.
func podName(runDir, uid string) string {
	var file sandboxFile
	if uid == "" || strings.ContainsRune(uid, '/') || !readJSON(filepath.Join(runDir, "pods", uid, sandboxJSON), &file) || file.Spec.Name == "" {
		return uid
	}
	return file.Spec.Namespace + "/" + file.Spec.Name
}
