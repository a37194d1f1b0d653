package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/archive/compression"
	"github.com/containerd/containerd/content"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/images"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime"
)

// Images are those that a containerd has. They are an image.Store.
type Images struct {
	Registries string // folder that says how registries are reached, as containerd's config_path; empty: none

	client *Client
	store  images.Store

	mu     sync.Mutex
	known  map[digest.Digest]*storedImage // what a digest stands for never changes
	leases map[string]int                 // of pulls that go on, with how many share one
	root   string                         // where the files of images are; empty: not known yet
}

var _ image.Store = (*Images)(nil)

// NewImages are the images in a client's namespace.
func NewImages(client *Client) *Images {
	return &Images{client: client, store: client.ImageService(), known: map[digest.Digest]*storedImage{}, leases: map[string]int{}}
}

// A storedImage is one that is here, with what its containers need of it.
type storedImage struct {
	image.Image
	chain string // name of the snapshot that has its files, once it is unpacked

	mu       sync.Mutex
	accounts *accounts // once somebody looked
}

// stored is an image by its reference or its digest. runtime.ErrNoImage.
func (s *Images) stored(ctx context.Context, ref string) (*storedImage, error) {
	found, err := s.find(ctx, ref)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("image %s: %w", ref, runtime.ErrNoImage)
	}
	if err != nil {
		return nil, fmt.Errorf("look for image %s: %w", ref, err)
	}
	return s.recall(ctx, found)
}

// recall is the image of a record of containerd. runtime.ErrNoImage if parts of it are missing.
func (s *Images) recall(ctx context.Context, found images.Image) (*storedImage, error) {
	s.mu.Lock()
	known, ok := s.known[found.Target.Digest]
	s.mu.Unlock()
	if ok {
		return known, nil
	}
	known, err := s.read(ctx, found)
	if errdefs.IsNotFound(err) { // its record is here, and parts of it are not
		return nil, fmt.Errorf("image %s: %w", found.Name, errors.Join(runtime.ErrNoImage, err))
	}
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", found.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[found.Target.Digest] = known
	return known, nil
}

func (s *Images) find(ctx context.Context, ref string) (images.Image, error) {
	if !strings.HasPrefix(ref, "sha256:") {
		return s.store.Get(ctx, ref)
	}
	all, err := s.store.List(ctx, fmt.Sprintf("target.digest==%q", ref))
	if err != nil || len(all) > 0 {
		return append(all, images.Image{})[0], err
	}
	return images.Image{}, errdefs.ErrNotFound
}

// read finds out what an image's config says.
func (s *Images) read(ctx context.Context, found images.Image) (*storedImage, error) {
	desc, err := containerd.NewImage(s.client.Client, found).Config(ctx)
	if err != nil {
		return nil, err
	}
	blob, err := content.ReadBlob(ctx, s.client.ContentStore(), desc)
	if err != nil {
		return nil, err
	}
	var spec ocispec.Image
	if err := json.Unmarshal(blob, &spec); err != nil {
		return nil, err
	}
	size, err := containerd.NewImage(s.client.Client, found).Size(ctx)
	if err != nil {
		return nil, err
	}
	c := spec.Config
	return &storedImage{
		chain: identity.ChainID(spec.RootFS.DiffIDs).String(),
		Image: image.Image{Ref: found.Name, ID: found.Target.Digest.String(), Size: size, Config: image.Config{
			Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, User: c.User, WorkingDir: c.WorkingDir, StopSignal: c.StopSignal,
		}},
	}, nil
}

// unpack makes the files of an image that is here.
func (s *Images) unpack(ctx context.Context, i *storedImage) error {
	found, err := s.find(ctx, i.ID)
	if err != nil {
		return fmt.Errorf("unpack image %s: %w", i.Ref, err)
	}
	ctx, release, err := s.ownLease(ctx)
	if err != nil {
		return fmt.Errorf("unpack image %s: %w", i.Ref, err)
	}
	defer release()
	if err := containerd.NewImage(s.client.Client, found).Unpack(ctx, snapshotter); err != nil {
		return fmt.Errorf("unpack image %s: %w", i.Ref, err)
	}
	return nil
}

// accountsOf are the users that an image knows.
func (r *Runtime) accountsOf(ctx context.Context, i *storedImage) (accounts, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.accounts != nil {
		return *i.accounts, nil
	}
	a, err := r.readAccounts(ctx, i.chain)
	if errdefs.IsNotFound(err) {
		if err = r.images.unpack(ctx, i); err == nil {
			a, err = r.readAccounts(ctx, i.chain)
		}
	}
	if err == nil {
		i.accounts = &a
	}
	return a, err
}

func (s *Images) Get(ctx context.Context, ref string) (image.Image, error) {
	ctx = s.client.in(ctx)
	found, err := s.find(ctx, ref)
	if errdefs.IsNotFound(err) {
		return image.Image{}, fmt.Errorf("image %s: %w", ref, image.ErrNotFound)
	}
	if err != nil {
		return image.Image{}, fmt.Errorf("look for image %s: %w", ref, err)
	}
	found.Name = ref
	return s.describe(ctx, found)
}

// describe is what a record of containerd stands for. image.ErrNotFound if parts of it are missing, or it is for another
// platform.
func (s *Images) describe(ctx context.Context, found images.Image) (image.Image, error) {
	i, err := s.recall(ctx, found)
	if errors.Is(err, runtime.ErrNoImage) {
		return image.Image{}, fmt.Errorf("image %s: %w", found.Name, image.ErrNotFound)
	}
	if err != nil {
		return image.Image{}, err
	}
	out := i.Image
	out.Ref, out.Since, out.Loaded = found.Name, found.UpdatedAt, found.Labels[loadedLabel] != "" // the same image may have several
	return out, nil
}

func (s *Images) List(ctx context.Context) ([]image.Image, error) {
	ctx = s.client.in(ctx)
	all, err := s.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []image.Image
	for _, found := range all {
		i, err := s.describe(ctx, found)
		if errors.Is(err, image.ErrNotFound) {
			continue // removed meanwhile, or for another platform
		}
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	s.forget(all)
	return out, nil
}

// forget drops what is known of images that are gone.
func (s *Images) forget(here []images.Image) {
	keep := map[digest.Digest]bool{}
	for _, i := range here {
		keep[i.Target.Digest] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, func(d digest.Digest, _ *storedImage) bool { return !keep[d] })
}

// Disk is that of the snapshots: containerd says where it has them.
func (s *Images) Disk(ctx context.Context) (image.Disk, error) {
	s.mu.Lock()
	root := s.root
	s.mu.Unlock()
	if root == "" {
		found, err := s.client.IntrospectionService().Plugins(s.client.in(ctx), []string{"type==io.containerd.snapshotter.v1,id==" + snapshotter})
		if err != nil {
			return image.Disk{}, fmt.Errorf("ask containerd where images are: %w", err)
		}
		for _, p := range found.Plugins {
			root = p.Exports["root"]
		}
		if root == "" {
			return image.Disk{}, errors.New("containerd does not say where its snapshots are")
		}
		s.mu.Lock()
		s.root = root
		s.mu.Unlock()
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return image.Disk{}, fmt.Errorf("measure the disk of %s: %w", root, err)
	}
	size := fs.Blocks - fs.Bfree + fs.Bavail // as df counts: without what the file system keeps to itself
	return image.Disk{Path: root, Size: int64(size) * fs.Bsize, Free: int64(fs.Bavail) * fs.Bsize}, nil
}

func (s *Images) Remove(ctx context.Context, ref string) error {
	err := s.store.Delete(s.client.in(ctx), ref, images.SynchronousDelete())
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("remove image %s: %w", ref, err)
	}
	return nil
}

func (s *Images) Import(ctx context.Context, archive io.Reader) ([]image.Image, error) {
	ctx = s.client.in(ctx)
	plain, err := compression.DecompressStream(archive)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer plain.Close()
	ctx, release, err := s.ownLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	defer release()
	all, err := s.client.Import(ctx, plain, containerd.WithImageRefTranslator(nameInLayout))
	if err != nil {
		return nil, importError("images", err)
	}
	if len(all) == 0 {
		return nil, errors.New("import images: the archive names no image; name it when you save it, as in: docker save web:v1")
	}
	var out []image.Image
	for _, found := range all {
		if err := containerd.NewImage(s.client.Client, found).Unpack(ctx, snapshotter); err != nil {
			return nil, importError("image "+found.Name, err)
		}
		found.Labels = map[string]string{loadedLabel: "true"}
		if found, err = s.store.Update(ctx, found, "labels."+loadedLabel); err != nil {
			return nil, importError("image "+found.Name, err)
		}
		i, err := s.describe(ctx, found)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

// loadedLabel marks an image whose archive may exist nowhere else.
const loadedLabel = "mainstay.dev/loaded"

// nameInLayout completes the name of an image in an OCI layout. Some tools write only a tag there, which names nothing.
func nameInLayout(name string) string {
	if !strings.ContainsAny(name, "/:") {
		return ""
	}
	full, err := image.Normalize(name)
	if err != nil {
		return ""
	}
	return full
}

// errPlatform is what containerd calls not found, or filtered out.
var errPlatform = errors.New("it is not for this machine's platform, or its config does not name one")

func otherPlatform(err error) bool {
	return errors.Is(err, images.ErrEmptyWalk) || errdefs.IsNotFound(err) && strings.Contains(err.Error(), "platform")
}

// importError is short where containerd's own is misleading.
func importError(what string, err error) error {
	if otherPlatform(err) {
		err = errPlatform
	}
	return fmt.Errorf("import %s: %w", what, err)
}
