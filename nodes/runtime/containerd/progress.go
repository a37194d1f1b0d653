package containerd

import (
	"context"
	"sync"
	"time"

	"github.com/containerd/containerd/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parts are the blobs that a pull needs, as far as known.
type parts struct {
	client *Client
	mu     sync.Mutex
	all    []ocispec.Descriptor
}

func (p *parts) note(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, desc)
	return nil, nil
}

// tell says how far a pull is, until ctx ends.
func (p *parts) tell(ctx context.Context, progress func(done, total int64)) {
	for sleep(ctx, 250*time.Millisecond) == nil {
		if done, total, err := p.sum(ctx); err == nil {
			progress(done, total)
		}
	}
}

func (p *parts) sum(ctx context.Context) (done, total int64, err error) {
	p.mu.Lock()
	all := p.all
	p.mu.Unlock()
	store := p.client.ContentStore()
	statuses, err := store.ListStatuses(ctx)
	if err != nil {
		return 0, 0, err
	}
	arriving := map[string]int64{}
	for _, s := range statuses {
		arriving[s.Ref] = s.Offset
	}
	for _, desc := range all {
		total += desc.Size
		if n, ok := arriving[remotes.MakeRefKey(ctx, desc)]; ok {
			done += n
		} else if _, err := store.Info(ctx, desc.Digest); err == nil {
			done += desc.Size
		}
	}
	return done, total, nil
}
