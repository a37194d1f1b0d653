// Package rbac says who may do what by roles and bindings, as rbac.authorization.k8s.io/v1 documents it. It is pure: every
// function reads a snapshot, and nothing is remembered between them.
package rbac

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

const subjectIndex = "subject"

// Index finds bindings by whom they bind. A store that Grants is asked of must have it: without it, nobody has anything.
func Index() store.Index {
	return store.Index{Name: subjectIndex, Values: func(o store.Object) []string {
		switch b := o.(type) {
		case *rbacv1.ClusterRoleBinding:
			return keys(b.Subjects, "")
		case *rbacv1.RoleBinding:
			return keys(b.Subjects, b.Namespace)
		}
		return nil
	}}
}

// keys are those of subjects in a binding of namespace.
func keys(subjects []rbacv1.Subject, namespace string) []string {
	var all []string
	for i := range subjects {
		// A key ends the index' own keys with a zero byte, and no name that somebody can have holds one.
		if k := key(&subjects[i], namespace); k != "" && !strings.Contains(k, "\x00") {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func userKey(name string) string  { return "user " + name }
func groupKey(name string) string { return "group " + name }

// key names whom a subject means, "" if that is nobody. A service account is the user that its tokens make of it.
func key(s *rbacv1.Subject, namespace string) string {
	switch s.Kind {
	case rbacv1.UserKind:
		return userKey(s.Name)
	case rbacv1.GroupKind:
		return groupKey(s.Name)
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		if namespace == "" {
			return ""
		}
		return userKey(serviceaccount.MakeUsername(namespace, s.Name))
	}
	return ""
}

// A Grant is what one binding gives.
type Grant struct {
	Binding store.Object // a RoleBinding or a ClusterRoleBinding
	Subject *rbacv1.Subject
	Role    rbacv1.RoleRef
	Rules   []rbacv1.PolicyRule
}

// String says where it comes from, as Kubernetes does.
func (g Grant) String() string {
	kind, name := "ClusterRoleBinding", g.Binding.GetName()
	if ns := g.Binding.GetNamespace(); ns != "" {
		kind, name = "RoleBinding", name+"/"+ns
	}
	subject := fmt.Sprintf("%s %q", g.Subject.Kind, g.Subject.Name)
	if g.Subject.Kind == rbacv1.ServiceAccountKind {
		ns := g.Subject.Namespace
		if ns == "" {
			ns = g.Binding.GetNamespace()
		}
		subject = fmt.Sprintf("%s %q", g.Subject.Kind, g.Subject.Name+"/"+ns)
	}
	return fmt.Sprintf("%s %q of %s %q to %s", kind, name, g.Role.Kind, g.Role.Name, subject)
}

// Grants are what who has in a namespace, or, if that is empty, in the cluster as a whole: each binding once. With an
// error, which tells of a role that is not there, comes an empty grant.
func Grants(s *store.Snapshot, who user.Info, namespace string) iter.Seq2[Grant, error] {
	return func(yield func(Grant, error) bool) {
		mine := make([]string, 0, len(who.GetGroups())+1)
		mine = append(mine, userKey(who.GetName()))
		for _, g := range who.GetGroups() {
			mine = append(mine, groupKey(g))
		}
		give := func(k string, b store.Object, role rbacv1.RoleRef, subjects []rbacv1.Subject) bool {
			i := first(subjects, b.GetNamespace(), mine)
			if i < 0 || key(&subjects[i], b.GetNamespace()) != k {
				return true // it was given, or will be, by another key
			}
			rules, err := Rules(s, role, b.GetNamespace())
			if err != nil {
				return yield(Grant{}, err)
			}
			return yield(Grant{b, &subjects[i], role, rules}, nil)
		}
		for _, k := range mine {
			for b := range store.List[*rbacv1.ClusterRoleBinding](s, store.By(subjectIndex, k)) {
				if !give(k, b, b.RoleRef, b.Subjects) {
					return
				}
			}
		}
		if namespace == "" {
			return
		}
		for _, k := range mine {
			for b := range store.List[*rbacv1.RoleBinding](s, store.By(subjectIndex, k), store.InNamespace(namespace)) {
				if !give(k, b, b.RoleRef, b.Subjects) {
					return
				}
			}
		}
	}
}

// first is the first of subjects that is one of mine; -1: there is none.
func first(subjects []rbacv1.Subject, namespace string, mine []string) int {
	return slices.IndexFunc(subjects, func(s rbacv1.Subject) bool { return slices.Contains(mine, key(&s, namespace)) })
}

// ErrNoRole: a binding is of a role that is not there.
var ErrNoRole = errors.New("not found")

// Rules are those of a role that a binding in a namespace refers to.
func Rules(s *store.Snapshot, role rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	if role.Kind == "ClusterRole" {
		r, ok := store.Get[*rbacv1.ClusterRole](s, "", role.Name)
		if !ok {
			return nil, fmt.Errorf("clusterrole.%s %q %w", rbacv1.GroupName, role.Name, ErrNoRole)
		}
		return r.Rules, nil
	}
	r, ok := store.Get[*rbacv1.Role](s, namespace, role.Name)
	if !ok {
		return nil, fmt.Errorf("role.%s %q %w", rbacv1.GroupName, role.Name, ErrNoRole)
	}
	return r.Rules, nil
}
