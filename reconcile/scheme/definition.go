package scheme

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// Defined is what a kind has that a CustomResourceDefinition defines, beside what all kinds have.
type Defined struct {
	// Stored is the version in which objects are stored; Same tells that versions differ only by their name, so that nobody
	// has to be asked to convert them.
	Stored string
	Same   bool
	// Types lets field managers merge objects.
	Types func() (managedfields.TypeConverter, error)

	schema *structural.Structural
}

// define makes the kind of a version of a definition.
func define(s *Scheme, d *apiextensionsv1.CustomResourceDefinition, gvk schema.GroupVersionKind) (*Kind, error) {
	i := slices.IndexFunc(d.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == gvk.Version })
	v := d.Spec.Versions[i]
	parts, err := readVersion(v.DeepCopy())
	if err != nil {
		return nil, err
	}
	namespaced := d.Spec.Scope == apiextensionsv1.NamespaceScoped
	rule := customresource.NewStrategy(nil, namespaced, gvk, parts.whole, parts.status, parts.schema, parts.statusPart, parts.scale, v.SelectableFields)
	k := typed(Kind{
		GroupVersionKind: gvk, Plural: d.Spec.Names.Plural, Short: d.Spec.Names.ShortNames, Categories: d.Spec.Names.Categories,
		Namespaced: namespaced, Status: parts.statusPart != nil,
	}, rules[*unstructured.Unstructured]{
		generation: true, changed: changedCustom, defaults: parts.fill,
		validate: func(u *unstructured.Unstructured) field.ErrorList { return rule.Validate(context.Background(), u) },
		update: func(new, old *unstructured.Unstructured) field.ErrorList {
			return rule.ValidateUpdate(context.Background(), new, old)
		},
		status: func(new, old *unstructured.Unstructured) field.ErrorList {
			return rule.ValidateUpdate(context.Background(), new, old)
		},
	})
	k.New = func() store.Object { return empty(gvk) }
	k.Defined = &Defined{
		Same: d.Spec.Conversion == nil || d.Spec.Conversion.Strategy == apiextensionsv1.NoneConverter, schema: parts.schema,
		Types: func() (managedfields.TypeConverter, error) { return mergeTypes(s, d, gvk.Version) },
	}
	for _, v := range d.Spec.Versions {
		if v.Storage {
			k.Defined.Stored = v.Name
		}
	}
	return k, nil
}

// versionParts are what a version of a definition consists of, in upstream's forms.
type versionParts struct {
	schema        *structural.Structural
	whole, status schemavalidation.SchemaValidator
	statusPart    *apiextensions.CustomResourceSubresourceStatus
	scale         *apiextensions.CustomResourceSubresourceScale
}

func readVersion(v *apiextensionsv1.CustomResourceDefinitionVersion) (p versionParts, err error) {
	var in apiextensions.CustomResourceDefinitionVersion
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinitionVersion_To_apiextensions_CustomResourceDefinitionVersion(v, &in, nil); err != nil {
		return p, err
	}
	if in.Schema == nil || in.Schema.OpenAPIV3Schema == nil {
		return p, fmt.Errorf("version %s has no schema", v.Name)
	}
	props := in.Schema.OpenAPIV3Schema
	if p.schema, err = structural.NewStructural(props); err != nil {
		return p, err
	}
	p.schema = p.schema.DeepCopy()
	if err := defaulting.PruneDefaults(p.schema); err != nil {
		return p, err
	}
	if p.whole, _, err = schemavalidation.NewSchemaValidator(props); err != nil {
		return p, err
	}
	if in.Subresources == nil {
		return p, nil
	}
	p.statusPart, p.scale = in.Subresources.Status, in.Subresources.Scale
	if status, ok := props.Properties["status"]; ok && p.statusPart != nil {
		p.status, _, err = schemavalidation.NewSchemaValidator(&status)
	}
	return p, err
}

// fill puts in the defaults of the schema.
func (p versionParts) fill(u *unstructured.Unstructured) {
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, p.schema)
	defaulting.Default(u.Object, p.schema)
}

// Unknown are the fields of doc that the kind's definition does not have, by their paths. The error tells what is wrong with
// its metadata.
func (d *Defined) Unknown(doc *unstructured.Unstructured) ([]string, error) {
	c := doc.DeepCopy()
	_, _, unknown, err := objectmeta.GetObjectMetaWithOptions(c.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, err
	}
	more := pruning.PruneWithOptions(c.Object, d.schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	return append(unknown, more...), nil
}

// mergeTypes are the types of objects of a version, with those of the metadata that all objects have.
func mergeTypes(s *Scheme, d *apiextensionsv1.CustomResourceDefinition, version string) (managedfields.TypeConverter, error) {
	doc, ok := s.OpenAPI.Find("v3/apis/" + apiextensionsv1.SchemeGroupVersion.String())
	if !ok {
		return nil, fmt.Errorf("merge custom resources: the OpenAPI document of their definitions is not embedded")
	}
	data, err := doc.JSON()
	if err != nil {
		return nil, err
	}
	var common spec3.OpenAPI
	if err := json.Unmarshal(data, &common); err != nil {
		return nil, fmt.Errorf("merge custom resources: %w", err)
	}
	own, err := builder.BuildOpenAPIV3(d, version, builder.Options{})
	if err != nil {
		return nil, fmt.Errorf("merge custom resources: %w", err)
	}
	all, err := builder.MergeSpecsV3(&common, own)
	if err != nil {
		return nil, fmt.Errorf("merge custom resources: %w", err)
	}
	return managedfields.NewTypeConverter(all.Components.Schemas, d.Spec.PreserveUnknownFields)
}
