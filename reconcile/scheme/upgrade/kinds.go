package upgrade

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// ingress names its backends in another form, and says how its paths are meant.
func ingress(o fields) error {
	spec := o.in("spec")
	if b := spec.in("backend"); b != nil {
		backend(b)
		spec.move("backend", spec, "defaultBackend")
	}
	for _, r := range spec.each("rules") {
		for _, p := range r.in("http").each("paths") {
			p.unset("pathType", "ImplementationSpecific")
			backend(p.in("backend"))
		}
	}
	return nil
}

func backend(b fields) {
	name, ok := b["serviceName"]
	if !ok {
		return
	}
	port := map[string]any{}
	switch p := b["servicePort"].(type) {
	case nil:
	case string:
		port["name"] = p
	default:
		port["number"] = p
	}
	delete(b, "serviceName")
	delete(b, "servicePort")
	b["service"] = map[string]any{"name": name, "port": port}
}

// binding names the group of its subjects, where once was a version.
func binding(o fields) error {
	for _, s := range o.each("subjects") {
		version, ok := s["apiVersion"].(string)
		if !ok {
			continue
		}
		delete(s, "apiVersion")
		if group, _, ok := strings.Cut(version, "/"); ok {
			s.unset("apiGroup", group)
		}
	}
	return nil
}

// runtimeClass has no spec any more.
func runtimeClass(o fields) error {
	if spec := o.in("spec"); spec != nil {
		spec.move("runtimeHandler", o, "handler")
		spec.move("overhead", o, "overhead")
		spec.move("scheduling", o, "scheduling")
		if len(spec) == 0 {
			delete(o, "spec")
		}
	}
	return nil
}

// endpointSlice has fields of its own for node and zone.
func endpointSlice(o fields) error {
	for _, e := range o.each("endpoints") {
		topology := e.in("topology")
		topology.move("kubernetes.io/hostname", e, "nodeName")
		topology.move("topology.kubernetes.io/zone", e, "zone")
		if len(topology) > 0 {
			e["deprecatedTopology"] = map[string]any(topology)
		}
		delete(e, "topology")
	}
	return nil
}

func signingRequest(o fields) error {
	if o.in("spec").text("signerName") == "" {
		return errors.New("spec.signerName is missing, which says who is to sign")
	}
	return nil
}

// webhooks have other defaults, and must say what they do beside answering.
func webhooks(o fields) error {
	for i, w := range o.each("webhooks") {
		switch effects := w.text("sideEffects"); effects {
		case "None", "NoneOnDryRun":
		default:
			return fmt.Errorf("webhooks[%d].sideEffects must be None or NoneOnDryRun", i)
		}
		w.unset("failurePolicy", "Ignore")
		w.unset("matchPolicy", "Exact")
		w.unset("timeoutSeconds", int64(30))
		w.unset("admissionReviewVersions", []any{"v1beta1"})
	}
	return nil
}

// priorityLevel calls its shares otherwise.
func priorityLevel(o fields) error {
	limited := o.in("spec", "limited")
	limited.move("assuredConcurrencyShares", limited, "nominalConcurrencyShares")
	return nil
}

// customKind says everything for each of its versions, which once it could say for all of them.
func customKind(o fields) error {
	spec := o.in("spec")
	if spec == nil {
		return nil
	}
	if v := spec.text("version"); v != "" && len(spec.each("versions")) == 0 {
		spec["versions"] = []any{map[string]any{"name": v, "served": true, "storage": true}}
	}
	delete(spec, "version")
	preserve, said := spec["preserveUnknownFields"].(bool)
	preserve = preserve || !said
	delete(spec, "preserveUnknownFields")
	for _, v := range spec.each("versions") {
		for from, to := range map[string]string{"validation": "schema", "subresources": "subresources", "additionalPrinterColumns": "additionalPrinterColumns"} {
			if common, ok := spec[from]; ok {
				v.unset(to, runtime.DeepCopyJSONValue(common))
			}
		}
		root := v.make("schema").make("openAPIV3Schema")
		root.unset("type", "object")
		if preserve {
			root.unset("x-kubernetes-preserve-unknown-fields", true)
		}
		for _, c := range v.each("additionalPrinterColumns") {
			c.move("JSONPath", c, "jsonPath")
		}
	}
	for _, common := range []string{"validation", "subresources", "additionalPrinterColumns"} {
		delete(spec, common)
	}
	spec.unset("scope", "Namespaced")
	conversion(spec.in("conversion"))
	return nil
}

func conversion(c fields) {
	if c.text("strategy") != "Webhook" {
		delete(c, "conversionReviewVersions")
		return
	}
	hook := c.make("webhook")
	c.move("webhookClientConfig", hook, "clientConfig")
	c.move("conversionReviewVersions", hook, "conversionReviewVersions")
	hook.unset("conversionReviewVersions", []any{"v1beta1"})
}
