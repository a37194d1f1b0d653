package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/containerd"
)

func newImageCommand(at *place) *cobra.Command {
	c := &cobra.Command{
		Use:   "image",
		Short: "Look after the images on this node",
		Long: `Images are in the containerd of the node, which runs on when mainstay up ends: these commands work then too.

When the disk fills (see --image-gc-high of mainstay up) images that no pod uses are removed, the longest unused first.
An image that was loaded stays until mainstay image rm, since its archive may exist nowhere else.`,
	}
	c.AddCommand(newImageLoad(at), newImageList(at), newImageRemove(at), newImagePull(at))
	return c
}

// imageShop is what the image commands work on.
type imageShop struct {
	*containerd.Images
	client *containerd.Client
	runDir string
	out    io.Writer // results
	say    io.Writer // progress
}

// inShop runs a command on the images of the node.
func inShop(cmd *cobra.Command, at *place, do func(context.Context, *imageShop) error) error {
	if err := needRoot("image " + cmd.Name()); err != nil {
		return err
	}
	e, err := at.endpoints()
	if err != nil {
		return err
	}
	o := &upOptions{place: *at, node: e.Node, containerd: e.Containerd}
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	client, err := containerd.Connect(ctx, o.socket(), o.namespace())
	if err != nil {
		return fmt.Errorf("the node's containerd does not answer at %s: start it with mainstay up (%w)", o.socket(), err)
	}
	defer client.Close()
	images := containerd.NewImages(client)
	images.Registries = e.Registries
	return do(cmd.Context(), &imageShop{images, client, o.runDir("runtime"), cmd.OutOrStdout(), cmd.ErrOrStderr()})
}

func newImageLoad(at *place) *cobra.Command {
	return &cobra.Command{
		Use:   "load FILE...",
		Short: "Import images from archives, of docker save or of the OCI layout; - is the standard input",
		Long: `Imports all images of the archives, plain or compressed. They are kept until mainstay image rm, also when the disk fills
and nobody uses them. Images whose names begin with ` + image.Local + `/ are never looked for in a registry.`,
		Example: `  mainstay image load hello.tar
  docker save web:v1 | mainstay image load -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inShop(cmd, at, func(ctx context.Context, s *imageShop) error {
				for _, name := range args {
					if err := s.load(ctx, name, cmd.InOrStdin()); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func (s *imageShop) load(ctx context.Context, name string, stdin io.Reader) error {
	from := &telling{r: stdin, say: s.say, what: "load " + name, last: time.Now()}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if fi, err := f.Stat(); err == nil {
			from.size = fi.Size()
		}
		from.r = f
	}
	loaded, err := s.Import(ctx, from)
	if err != nil {
		return fmt.Errorf("load %s: %w", name, err)
	}
	for _, i := range loaded {
		fmt.Fprintf(s.out, "loaded %s, %s\n", i.Ref, mebi(i.Size))
	}
	return nil
}

// telling is a reader that says now and then how far it is.
type telling struct {
	r          io.Reader
	say        io.Writer
	what       string
	done, size int64 // size 0: not known
	last       time.Time
}

func (t *telling) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.done += int64(n)
	if time.Since(t.last) > 3*time.Second {
		t.last = time.Now()
		if t.size > 0 {
			fmt.Fprintf(t.say, "%s: %s of %s\n", t.what, mebi(t.done), mebi(t.size))
		} else {
			fmt.Fprintf(t.say, "%s: %s\n", t.what, mebi(t.done))
		}
	}
	return n, err
}

func mebi(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// listedImage is one reference, for people and programs.
type listedImage struct {
	Image  string    `json:"image"`
	Digest string    `json:"digest"`
	Size   int64     `json:"size"` // bytes, as a registry keeps it
	Since  time.Time `json:"since"`
	Loaded bool      `json:"loaded"`
	UsedBy []string  `json:"usedBy"`
}

func newImageList(at *place) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the images that are here, with their sizes, and the pods that use them",
		Long: `Lists the images that are here. SIZE is that of the layers as a registry keeps them, compressed or not; unpacked they take more.
KEPT are those that were loaded: they are not removed when the disk fills.`,
		Example: `  mainstay image ls
  mainstay image ls -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inShop(cmd, at, func(ctx context.Context, s *imageShop) error {
				all, err := s.list(ctx)
				if err != nil {
					return err
				}
				if output == "json" {
					e := json.NewEncoder(s.out)
					e.SetIndent("", "  ")
					return e.Encode(all)
				}
				return printImages(s.out, all)
			})
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

func (s *imageShop) list(ctx context.Context) ([]listedImage, error) {
	have, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	users, err := containerd.UsedBy(ctx, s.client, s.runDir)
	if err != nil {
		return nil, err
	}
	all := []listedImage{}
	for _, i := range have {
		all = append(all, listedImage{i.Ref, i.ID, i.Size, i.Since, i.Loaded, append([]string{}, users[i.ID]...)})
	}
	slices.SortFunc(all, func(a, b listedImage) int { return strings.Compare(a.Image, b.Image) })
	return all, nil
}

func printImages(out io.Writer, all []listedImage) error {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "IMAGE\tDIGEST\tSIZE\tKEPT\tUSED BY")
	for _, i := range all {
		kept := "-"
		if i.Loaded {
			kept = "loaded"
		}
		used := "-"
		if n := len(i.UsedBy); n > 3 {
			used = fmt.Sprintf("%s and %d more", strings.Join(i.UsedBy[:2], ", "), n-2)
		} else if n > 0 {
			used = strings.Join(i.UsedBy, ", ")
		}
		digest := i.Digest[:min(len(i.Digest), len("sha256:")+12)]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Image, digest, mebi(i.Size), kept, used)
	}
	return t.Flush()
}

func newImageRemove(at *place) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove"},
		Short:   "Remove images that no pod uses, also those that were loaded",
		Long: `Removes images by name, or by digest with all their names. One that a container of a pod was made from is not removed
by its last name: delete the pod first.`,
		Example: `  mainstay image rm mainstay.local/hello:v1 docker.io/library/nginx:1.29`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inShop(cmd, at, func(ctx context.Context, s *imageShop) error {
				var errs []error
				for _, name := range args {
					errs = append(errs, s.remove(ctx, name))
				}
				return errors.Join(errs...)
			})
		},
	}
}

func (s *imageShop) remove(ctx context.Context, name string) error {
	all, err := s.list(ctx)
	if err != nil {
		return err
	}
	ref, err := image.Normalize(name)
	if err != nil && !strings.HasPrefix(name, "sha256:") {
		return err
	}
	var found []listedImage
	for _, i := range all {
		if i.Image == ref || i.Digest == name {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("image %s is not here: mainstay image ls lists those that are", name)
	}
	names := 0
	for _, i := range all {
		if i.Digest == found[0].Digest {
			names++
		}
	}
	if used := found[0].UsedBy; len(used) > 0 && names == len(found) {
		return fmt.Errorf("image %s is in use by %s", name, strings.Join(used, ", "))
	}
	for _, i := range found {
		if err := s.Remove(ctx, i.Image); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "removed", i.Image)
	}
	return nil
}

func newImagePull(at *place) *cobra.Command {
	var auth image.Auth
	var fromStdin bool
	c := &cobra.Command{
		Use:   "pull NAME",
		Short: "Pull an image from its registry, as a pod would",
		Long: `Pulls an image, so that a pod does not wait for it, or to see whether a registry lets this node have it. Registries are reached as
the folder of --registry-config of mainstay up says. An image that was pulled may be removed again when the disk fills.`,
		Example: `  mainstay image pull nginx:1.29
  mainstay image pull --username me --password-stdin registry.example.com/team/web:v1 < password`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if fromStdin {
				b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 64<<10))
				if err != nil {
					return err
				}
				auth.Password = strings.TrimRight(string(b), "\r\n")
			}
			return inShop(cmd, at, func(ctx context.Context, s *imageShop) error { return s.pull(ctx, args[0], auth) })
		},
	}
	c.Flags().StringVar(&auth.Username, "username", "", "who the registry is told that asks")
	c.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from the standard input")
	return c
}

func (s *imageShop) pull(ctx context.Context, name string, auth image.Auth) error {
	got, err := image.NewPuller(s.Images, 1).Get(ctx, image.Request{
		Ref: name, Policy: image.Always, Auths: []image.Auth{auth},
		Progress: func(done, total int64) { fmt.Fprintf(s.say, "pull %s: %s of %s\n", name, mebi(done), mebi(total)) },
	})
	if err != nil {
		return err
	}
	what := "pulled"
	if !got.Pulled {
		what = "here already:" // it is never looked for in a registry
	}
	fmt.Fprintf(s.out, "%s %s, %s, %s\n", what, got.Ref, got.ID, mebi(got.Size))
	return nil
}
