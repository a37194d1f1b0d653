package validate

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	valid "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/mainstay-gitops/mainstay/reconcile/scheme/v1alpha1"
)

// GitSource validates a new GitSource.
func GitSource(g *v1alpha1.GitSource) field.ErrorList {
	errs := metadata(&g.ObjectMeta, validation.NameIsDNSSubdomain)
	return append(errs, gitSourceSpec(&g.Spec, root("spec"))...)
}

// GitSourceUpdate validates an update. All of the spec may change.
func GitSourceUpdate(new, old *v1alpha1.GitSource) field.ErrorList {
	return append(metadataUpdate(&new.ObjectMeta, &old.ObjectMeta), gitSourceSpec(&new.Spec, root("spec"))...)
}

// GitSourceStatusUpdate validates an update of the status.
func GitSourceStatusUpdate(new, old *v1alpha1.GitSource) field.ErrorList {
	return metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
}

const (
	intervalAtLeast = time.Second // so that a remote is not asked all the time
	timeoutAtLeast  = time.Second
)

func gitSourceSpec(s *v1alpha1.GitSourceSpec, at *field.Path) field.ErrorList {
	errs := gitURL(s.URL, at.Child("url"))
	errs = append(errs, gitRef(&s.Ref, at.Child("ref"))...)
	if s.Path != "" {
		errs = append(errs, folder(s.Path, at.Child("path"))...)
	}
	errs = append(errs, duration(s.Interval, intervalAtLeast, at.Child("interval"))...)
	errs = append(errs, duration(s.Timeout, timeoutAtLeast, at.Child("timeout"))...)
	if s.DriftPolicy != "" {
		errs = append(errs, oneOf(s.DriftPolicy, at.Child("driftPolicy"), v1alpha1.DriftDeny, v1alpha1.DriftKeep, v1alpha1.DriftRevert)...)
	}
	if s.Auth != nil {
		errs = append(errs, objectName(s.Auth.SecretRef.Name, at.Child("auth", "secretRef", "name"))...)
		if strings.HasPrefix(s.URL, builtin) || strings.HasPrefix(s.URL, "file://") {
			errs = append(errs, field.Forbidden(at.Child("auth"), "a repository on this machine needs none"))
		}
	}
	if s.Webhook != nil {
		errs = append(errs, objectName(s.Webhook.Name, at.Child("webhook", "name"))...)
	}
	if s.Namespace != "" {
		errs = append(errs, invalid(at.Child("namespace"), s.Namespace, valid.IsDNS1123Label(s.Namespace))...)
	}
	if s.Allow != nil {
		errs = append(errs, allow(s.Allow, at.Child("allow"))...)
	}
	return errs
}

// builtin begins the URL of a repository that lives in Mainstay.
const builtin = "builtin:"

// scp is the short form of an SSH URL: user@host:path. What follows the colon is no port.
const scp = `^[^@/:]+@[^@/:]+:[^/].*$|^[^@/:]+@[^@/:]+:/.+$`

func gitURL(s string, at *field.Path) field.ErrorList {
	const forms = "must be https://, http://, ssh://, user@host:path, file:///path or builtin:NAME"
	if s == "" {
		return field.ErrorList{field.Required(at, forms)}
	}
	if name, ok := strings.CutPrefix(s, builtin); ok {
		return invalid(at, s, valid.IsDNS1123Subdomain(name))
	}
	if regexp.MustCompile(scp).MatchString(s) {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || strings.ContainsAny(s, " \t\n") {
		return field.ErrorList{field.Invalid(at, s, forms)}
	}
	if _, ok := u.User.Password(); ok {
		return field.ErrorList{field.Invalid(at, u.Redacted(), "must not hold a password: put it into a Secret and name that under auth")}
	}
	switch u.Scheme {
	case "https", "http", "ssh":
		if u.Host == "" || strings.Trim(u.Path, "/") == "" {
			return field.ErrorList{field.Invalid(at, s, "must name a host and a path")}
		}
	case "file":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return field.ErrorList{field.Invalid(at, s, "must be file:// and an absolute path: file:///srv/manifests")}
		}
	default:
		return field.ErrorList{field.Invalid(at, s, forms)}
	}
	return nil
}

func gitRef(r *v1alpha1.GitRef, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	set := 0
	for _, f := range []struct{ name, value string }{{"branch", r.Branch}, {"tag", r.Tag}} {
		if f.value == "" {
			continue
		}
		set++
		if !isRefName(f.value) {
			errs = append(errs, field.Invalid(at.Child(f.name), f.value, "is not a name that Git allows"))
		}
	}
	if r.Commit != "" {
		set++
		if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(r.Commit) {
			errs = append(errs, field.Invalid(at.Child("commit"), r.Commit, "must be a whole commit hash: 40 digits from 0 to 9 and a to f"))
		}
	}
	if set > 1 {
		errs = append(errs, field.Invalid(at, *r, "must name one of branch, tag and commit"))
	}
	return errs
}

// isRefName tells whether Git would take s as the name of a branch or tag.
func isRefName(s string) bool {
	if strings.ContainsAny(s, " ~^:?*[\\\x7f") || strings.Contains(s, "..") || strings.Contains(s, "@{") || s == "@" ||
		strings.HasPrefix(s, "-") || strings.HasSuffix(s, ".") || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }) {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// folder is a path inside the repository.
func folder(s string, at *field.Path) field.ErrorList {
	if path.IsAbs(s) {
		return field.ErrorList{field.Invalid(at, s, "must be a relative path")}
	}
	return noBackSteps(s, at)
}

func duration(d *metav1.Duration, least time.Duration, at *field.Path) field.ErrorList {
	if d != nil && d.Duration < least {
		return field.ErrorList{field.Invalid(at, d.Duration.String(), fmt.Sprintf("must be at least %s", least))}
	}
	return nil
}

func allow(a *v1alpha1.GitAllow, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, n := range a.Namespaces {
		errs = append(errs, invalid(at.Child("namespaces").Index(i), n, valid.IsDNS1123Label(n))...)
	}
	for i, k := range a.Kinds {
		if !regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`).MatchString(k) {
			errs = append(errs, field.Invalid(at.Child("kinds").Index(i), k, "must be the name of a kind, such as Deployment"))
		}
	}
	if a.ServiceAccount != "" {
		errs = append(errs, objectName(a.ServiceAccount, at.Child("serviceAccount"))...)
	}
	return errs
}

// Inventory validates an Inventory, which only Mainstay writes.
func Inventory(i *v1alpha1.Inventory) field.ErrorList {
	errs := metadata(&i.ObjectMeta, validation.NameIsDNSSubdomain)
	spec := root("spec")
	errs = append(errs, required(i.Spec.Source, spec.Child("source"))...)
	errs = append(errs, required(i.Spec.Path, spec.Child("path"))...)
	for n, o := range i.Spec.Objects {
		p := spec.Child("objects").Index(n)
		errs = append(errs, required(o.Kind, p.Child("kind"))...)
		errs = append(errs, required(o.Name, p.Child("name"))...)
	}
	return errs
}

// InventoryUpdate keeps the file that the inventory is of.
func InventoryUpdate(new, old *v1alpha1.Inventory) field.ErrorList {
	errs := metadataUpdate(&new.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, immutable(new.Spec.Source, old.Spec.Source, root("spec").Child("source"))...)
	errs = append(errs, immutable(new.Spec.Path, old.Spec.Path, root("spec").Child("path"))...)
	return append(errs, Inventory(new)...)
}
