package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// namespaceManifest is of the namespace that all manifests are in.
const namespaceManifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n"

// configMap is a ConfigMap of about size bytes. Its text is always the same for a name and a value.
func configMap(name, value string, size int) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: %s\n  labels:\n    app: bench\ndata:\n  value: %q\n", name, namespace, value)
	if room := size - len(text) - len("  text: \"\"\n"); room > 0 {
		text += fmt.Sprintf("  text: %q\n", filler(name, room))
	}
	return text
}

// filler is text that does not compress to nothing.
func filler(seed string, size int) string {
	var s [32]byte
	copy(s[:], seed)
	rng := rand.New(rand.NewChaCha8(s))
	const letters = "abcdefghijklmnopqrstuvwxyz 0123456789"
	var b strings.Builder
	for range size {
		b.WriteByte(letters[rng.IntN(len(letters))])
	}
	return b.String()
}

// deployment runs examples/hello. Where probed, a container is ready when it answers, and not just when it runs.
func deployment(name, version string, replicas int, probed bool) string {
	probe := ""
	if probed {
		probe = "\n        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 2}"
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers:
      - name: web
        image: %[4]s
        resources: {requests: {cpu: 5m, memory: 16Mi}, limits: {memory: 64Mi}}%[5]s
`, name, namespace, replicas, hello(version), probe)
}

// service is a Service of the pods of an app, on port 80.
func service(name, app string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  selector: {app: %s}\n  ports: [{port: 80, targetPort: 8080}]\n", name, namespace, app)
}

const documents = "---\n"
