package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mainstay-gitops/mainstay/reconcile/apply"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A client speaks with the API of a running Mainstay.
type client struct {
	scheme *scheme.Scheme
	config *rest.Config
	http   *http.Client
}

func connect(at place) (*client, error) {
	if _, err := os.Stat(at.kubeconfig()); errors.Is(err, fs.ErrNotExist) {
		_, err := at.endpoints()
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", at.kubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.Timeout = 30 * time.Second
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return &client{scheme.New(scheme.Options{}), cfg, c}, nil
}

func (c *client) rest(gv schema.GroupVersion) (*rest.RESTClient, error) {
	cfg := rest.CopyConfig(c.config)
	cfg.GroupVersion = &gv
	cfg.APIPath = "/apis"
	if gv.Group == "" {
		cfg.APIPath = "/api"
	}
	cfg.NegotiatedSerializer = c.scheme.Codecs.WithoutConversion()
	return rest.RESTClientForConfigAndClient(cfg, c.http)
}

// snapshot reads all objects of some kinds.
func (c *client) snapshot(ctx context.Context, kinds ...schema.GroupKind) (*store.Snapshot, error) {
	st, err := store.Open(store.NewVolatile(c.scheme.Stored), c.scheme.Stored, store.Options{Indexes: []store.Index{apply.Index()}})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	var all []store.Object
	for _, gk := range kinds {
		k := c.scheme.Kind(gk)
		r, err := c.rest(k.GroupVersion())
		if err != nil {
			return nil, err
		}
		list := k.NewList()
		if err := r.Get().Resource(k.Plural).VersionedParams(&metav1.ListOptions{}, c.scheme.Parameters).Do(ctx).Into(list); err != nil {
			return nil, unreachable(err)
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			all = append(all, o.(store.Object))
			return nil
		}); err != nil {
			return nil, err
		}
	}
	_, err = st.Update(ctx, "read", func(tx *store.Tx) error {
		for _, o := range all {
			if err := tx.Create(o); err != nil {
				return err
			}
		}
		return nil
	})
	return st.Snapshot(), err
}

// unreachable explains that nobody answers.
func unreachable(err error) error {
	if _, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return err
	}
	return fmt.Errorf("%w: is Mainstay up? If it runs in a network namespace of its own, enter that first (nsenter --net=...)", err)
}

// ensureSource creates a GitSource, or takes the one that is there if it is of the same repository, and waits until it is
// looked after.
func (c *client) ensureSource(ctx context.Context, g *v1alpha1.GitSource) error {
	r, err := c.rest(v1alpha1.GroupVersion)
	if err != nil {
		return err
	}
	var live v1alpha1.GitSource
	err = r.Post().Namespace(g.Namespace).Resource("gitsources").Body(g).Do(ctx).Into(&live)
	if apierrors.IsAlreadyExists(err) {
		if err = r.Get().Namespace(g.Namespace).Resource("gitsources").Name(g.Name).Do(ctx).Into(&live); err == nil && live.Spec.URL != g.Spec.URL {
			return fmt.Errorf("there is a source %s/%s of %s already: choose another name with --name", g.Namespace, g.Name, live.Spec.URL)
		}
	}
	if err != nil {
		return unreachable(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(live.Status.Conditions) == 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("source %s/%s is not looked after: see the log of mainstay up", g.Namespace, g.Name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if err := r.Get().Namespace(g.Namespace).Resource("gitsources").Name(g.Name).Do(ctx).Into(&live); err != nil {
			return unreachable(err)
		}
	}
	return nil
}
