package kubestore

import (
	"strings"

	"k8s.io/apiserver/pkg/storage"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// A scope is what a list or a watch is about: all of a kind, a namespace of it, or one object.
type scope struct {
	store.Query
	name   string
	single bool
	prefix string // of the keys within, as continue tokens want it
}

// has tells whether o, which is of the scope's kind and namespace, is in it.
func (sc scope) has(o store.Object) bool {
	return !sc.single || o.GetName() == sc.name && o.GetNamespace() == sc.Namespace
}

// object reads the key of one object.
func (s *Storage) object(key string) (store.Key, error) {
	key, err := storage.PrepareKey(s.Prefix, key, false)
	if err != nil {
		return store.Key{}, err
	}
	return s.split(key), nil
}

// split takes a key with the prefix apart. Without a namespace in it, it names an object of the cluster.
func (s *Storage) split(key string) store.Key {
	rest := strings.TrimPrefix(key, s.Prefix)
	namespace, name, ok := strings.Cut(rest, "/")
	if !ok {
		namespace, name = "", rest
	}
	return store.Key{Kind: s.Kind, Namespace: namespace, Name: name}
}

// keyOf is the key of o.
func (s *Storage) keyOf(o store.Object) string {
	if o.GetNamespace() == "" {
		return s.Prefix + o.GetName()
	}
	return s.Prefix + o.GetNamespace() + "/" + o.GetName()
}

// scope reads the key of a list or a watch.
func (s *Storage) scope(key string, recursive bool) (scope, error) {
	key, err := storage.PrepareKey(s.Prefix, key, recursive)
	if err != nil {
		return scope{}, err
	}
	sc := scope{Query: store.Query{Kind: s.Kind}, prefix: key}
	if !recursive {
		k := s.split(key)
		sc.Namespace, sc.name, sc.single = k.Namespace, k.Name, true
		return sc, nil
	}
	sc.Namespace = strings.TrimSuffix(strings.TrimPrefix(key, s.Prefix), "/")
	return sc, nil
}
