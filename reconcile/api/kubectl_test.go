package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/reconcile/api/kubectltest"
	"github.com/mainstay-gitops/mainstay/reconcile/scheme"
)

// TestTheKubectlsAreBuilt does nothing else: where they are not built yet, run it before the others, with time.
func TestTheKubectlsAreBuilt(t *testing.T) {
	for module, version := range kubectltest.Versions() {
		out, err := exec.CommandContext(t.Context(), kubectltest.Build(t, module, version), "version", "--client").CombinedOutput()
		if err != nil || !strings.Contains(string(out), version) {
			t.Errorf("%s: %s, %v", version, out, err)
		}
	}
}

// A kubectl is one that talks to a cluster as its administrator.
type kubectl struct {
	version, path, config, home, namespace string
}

func (k kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	if k.namespace != "" {
		args = append([]string{"--namespace", k.namespace}, args...)
	}
	c := exec.CommandContext(ctx, k.path, args...)
	c.Env = []string{"GOGC=off", "KUBECONFIG=" + k.config, "HOME=" + k.home, "PATH=" + os.Getenv("PATH"), "KUBE_EDITOR=" + filepath.Join(k.home, "editor")}
	return c
}

// run returns what kubectl said, both outputs together, and whether it was content.
func (k kubectl) run(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := k.command(ctx, args...).CombinedOutput()
	if e := (*exec.ExitError)(nil); err != nil && !errors.As(err, &e) || ctx.Err() != nil {
		t.Fatalf("kubectl %s: %v, %v", strings.Join(args, " "), err, ctx.Err())
	}
	return string(out), err == nil
}

// withKubectls runs f with each kubectl against one cluster.
func withKubectls(t *testing.T, c *cluster, f func(t *testing.T, k kubectl)) {
	config := c.kubeconfig(t)
	for module, version := range kubectltest.Versions() {
		t.Run("kubectl "+version, func(t *testing.T) {
			k := kubectl{version: version, path: kubectltest.Build(t, module, version), config: config, home: t.TempDir()}
			editor := "#!/bin/sh\nsed -i 's/edited: \"no\"/edited: \"yes\"/' \"$1\"\n"
			if err := os.WriteFile(filepath.Join(k.home, "editor"), []byte(editor), 0o755); err != nil {
				t.Fatal(err)
			}
			f(t, k)
		})
	}
}

// A saying is a kubectl command and what it must say. $KIND is the resource, $NAME an object and $FILE
// its file, $ROW what its row shows, $ELSE another object, $OTHER and $OTHERCHANGED two states of it.
type saying struct {
	args string // split at spaces
	want string // a regular expression; words as in args
	fail bool   // it is to exit with an error
}

func everyVerb() []saying {
	return []saying{
		{args: "create -f $FILE", want: `/$NAME created`},
		{args: "get $KIND", want: `(?s)^(Warning: [^\n]*\n)?$HEADINGS\n.*$ROW`},
		{args: "get $KIND -l v=one --field-selector metadata.name=$NAME --chunk-size=1 -o name", want: `/$NAME\n$`},
		{args: "get $KIND $NAME -o yaml --show-managed-fields", want: `(?s)kind: $GOKIND.*edited: "no".*managedFields:.*name: $NAME`},
		{args: "describe $KIND $NAME", want: `(?s)Name: +$NAME`},
		{args: "explain $KIND", want: `(?s)KIND: +$GOKIND.*FIELDS:.*metadata`},
		{args: "edit $KIND $NAME", want: `/$NAME edited`},
		{args: "diff -f $FILE", want: `(?s)-.*edited: "?yes"?.*\n\+.*edited: "no"`, fail: true},
		{args: "apply -f $FILE", want: `/$NAME configured`},
		{args: "apply -f $FILE", want: `/$NAME unchanged`},
		{args: "apply -f $OTHER --dry-run=server", want: `/$ELSE created \(server dry run\)`},
		{args: "apply -f $OTHER --server-side", want: `/$ELSE serverside-applied`},
		{args: "apply -f $OTHERCHANGED --server-side --field-manager=someone", want: `(?s)conflicts? with "kubectl":.*\.metadata\.labels\.v`, fail: true},
		{args: "apply -f $OTHERCHANGED --server-side --field-manager=someone --force-conflicts", want: `/$ELSE serverside-applied`},
		{args: "diff -f $OTHERCHANGED --server-side --field-manager=someone", want: `^$`},
		{args: "patch $KIND $NAME --type=strategic -p {\"metadata\":{\"labels\":{\"by\":\"strategic\"}}}", want: `/$NAME patched`},
		{args: "patch $KIND $NAME --type=merge -p {\"metadata\":{\"labels\":{\"by\":\"merge\"}}}", want: `/$NAME patched`},
		{args: "patch $KIND $NAME --type=json -p [{\"op\":\"replace\",\"path\":\"/metadata/labels/by\",\"value\":\"json\"}]", want: `/$NAME patched`},
		{args: "label $KIND $NAME more=yes", want: `/$NAME labeled`},
		{args: "annotate $KIND $NAME note=hello", want: `/$NAME annotated`},
		{args: "get $KIND $NAME -o jsonpath={.metadata.labels.by},{.metadata.labels.more},{.metadata.annotations.note}", want: `^json,yes,hello$`},
		{args: "delete $KIND $ELSE --wait=false", want: `"$ELSE" deleted`},
	}
}

// verbsOfKinds are those that work differently from kind to kind.
func verbsOfKinds() []saying {
	return []saying{
		{args: "create -f $FILE", want: `/$NAME created`},
		{args: "get $KIND", want: `(?s)^(Warning: [^\n]*\n)?$HEADINGS\n.*$ROW`},
		{args: "explain $KIND", want: `(?s)KIND: +$GOKIND.*FIELDS:.*metadata`},
		{args: "apply -f $OTHER --server-side", want: `/$ELSE serverside-applied`},
		{args: "apply -f $OTHERCHANGED --server-side --field-manager=someone", want: `(?s)conflicts? with "kubectl":.*\.metadata\.labels\.v`, fail: true},
		{args: "patch $KIND $NAME --type=strategic -p {\"metadata\":{\"labels\":{\"by\":\"strategic\"}}}", want: `/$NAME patched`},
		{args: "delete $KIND $ELSE --wait=false", want: `"$ELSE" deleted`},
	}
}

func TestEveryVerbOfKubectlWorksOnEveryKind(t *testing.T) {
	c := serve(t)
	withKubectls(t, c, func(t *testing.T, k kubectl) {
		for _, kind := range c.Kinds.All() {
			if apart()[kind.Kind] != "" || !closely(kind.Kind) && k.version == kubectltest.Oldest {
				continue
			}
			t.Run(kind.Kind, func(t *testing.T) {
				if testing.Short() && kind.Kind != "ConfigMap" && kind.Kind != "Deployment" {
					t.Skip("-short tries two kinds")
				}
				t.Parallel()
				k, name, other := k, "it-is", "other"
				k.namespace = strings.ToLower(kind.Kind) + "-" + strings.ReplaceAll(k.version, ".", "-")
				c.namespace(t, k.namespace)
				if !kind.Namespaced { // those of the other kubectl are there too
					name, other = named(kind.Kind, name+"-"+k.namespace), named(kind.Kind, other+"-"+k.namespace)
				}
				file := func(name, label string) string { return manifest(t, kind, k.namespace, name, label) }
				row := name
				if kind.Kind == "Event" { // which are shown by what they say
					row = "it runs"
				}
				words := strings.NewReplacer(
					"$OTHERCHANGED", file(other, "two"), "$OTHER", file(other, "one"), "$FILE", file(name, "one"),
					"$HEADINGS", headings(kind), "$GOKIND", kind.Kind, "$KIND", kind.Resource().String(), "$NAME", name, "$ROW", row, "$ELSE", other,
				)
				verbs := everyVerb()
				if !closely(kind.Kind) {
					verbs = verbsOfKinds()
				}
				k.say(t, words, verbs)
				k.watches(t, kind, name)
				k.say(t, words, ends(kind))
			})
		}
	})
}

// headings are what kubectl get writes above a list.
func headings(k *scheme.Kind) string {
	var all []string
	for _, c := range k.Columns() {
		if c.Priority == 0 {
			all = append(all, regexp.QuoteMeta(strings.ToUpper(c.Name)))
		}
	}
	return strings.Join(all, ` +`)
}

// ends are how an object of kind is deleted for good.
func ends(kind *scheme.Kind) []saying {
	if strings.HasPrefix(kind.Kind, "PersistentVolume") { // there is no controller here that lets it go
		return []saying{
			{args: "delete $KIND $NAME --wait=false", want: `"$NAME" deleted`},
			{args: "get $KIND $NAME", want: `Terminating`},
			{args: "patch $KIND $NAME --type=merge -p {\"metadata\":{\"finalizers\":null}}", want: `/$NAME patched`},
			{args: "get $KIND $NAME", want: `NotFound`, fail: true},
		}
	}
	if kind.Kind != "Namespace" {
		return []saying{
			{args: "delete $KIND $NAME", want: `"$NAME" deleted`},
			{args: "get $KIND $NAME", want: `NotFound`, fail: true},
		}
	}
	return []saying{ // there is no controller here to empty it
		{args: "delete $KIND $NAME --wait=false", want: `"$NAME" deleted`},
		{args: "get $KIND $NAME -o jsonpath={.status.phase}", want: `^Terminating$`},
		{args: "delete $KIND default", want: `this namespace may not be deleted`, fail: true},
	}
}

func (k kubectl) say(t *testing.T, words *strings.Replacer, all []saying) {
	t.Helper()
	for _, s := range all {
		args := strings.Split(words.Replace(s.args), " ")
		out, ok := k.run(t, args...)
		want, err := regexp.Compile(words.Replace(s.want))
		if err != nil {
			t.Fatal(err)
		}
		if ok == s.fail || !want.MatchString(out) {
			t.Errorf("kubectl %s: %v, want %s\n%s", strings.Join(args, " "), ok, want, out)
		}
	}
}

// watches follows an object through a change.
func (k kubectl) watches(t *testing.T, kind *scheme.Kind, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := k.command(ctx, "get", kind.Resource().String(), name, "--watch", "--output-watch-events", "-o", "jsonpath={.type} {.object.metadata.labels.seen}{\"\\n\"}")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	c.Stderr = &complaints
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, want := range []string{"ADDED ", "MODIFIED yes"} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("watch %s: %q, want %q; %s", name, lines.Text(), want, complaints.String())
		}
		if want == "ADDED " {
			if out, ok := k.run(t, "label", kind.Resource().String(), name, "seen=yes"); !ok {
				t.Error(out)
			}
		}
	}
	cancel()
	_ = c.Wait() // it was killed
}
