package agent

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/nodes/image"
	"github.com/mainstay-gitops/mainstay/nodes/runtime/runtimetest"
	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func TestImagesThatCannotBeHad(t *testing.T) {
	for _, row := range []struct {
		name, spec, want string
		events           []string
	}{
		{"one that the registry does not have", `{containers: [{name: a, image: "example.com/nope:v1"}]}`, "Pending a=ErrImagePull", []string{
			`Normal Pulling: Pulling image "example.com/nope:v1"`,
			`Warning Failed: Failed to pull image "example.com/nope:v1": image example.com/nope:v1 not found`, "Warning Failed: Error: ErrImagePull"}},
		{"one that may not be pulled", `{containers: [{name: a, image: "example.com/nope:v1", imagePullPolicy: Never}]}`, "Pending a=ErrImageNeverPull", []string{
			`Warning ErrImageNeverPull: Container image "example.com/nope:v1" is not present with pull policy of Never`, "Warning Failed: Error: ErrImageNeverPull"}},
		{"one whose name makes no sense", `{containers: [{name: a, image: "Not A Name"}]}`, "Pending a=InvalidImageName", []string{
			`Warning InspectFailed: Failed to apply default image tag "Not A Name": couldn't parse image name "Not A Name": invalid reference format`, "Warning Failed: Error: InvalidImageName"}},
		{"of one container, while another starts", `{containers: [{name: a, image: "example.com/nope:v1"}, {name: b}]}`, "Pending a=ErrImagePull b=running", nil},
		{"one whose pull secret is missing", `{imagePullSecrets: [{name: one}, {name: two}], containers: [{name: a, image: "example.com/nope:v1"}]}`, "Pending a=ErrImagePull", []string{
			"Warning FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (one, two); attempting to pull the image may not succeed."}},
	} {
		t.Run(row.name, func(t *testing.T) {
			story(t, func(n *node, _ *Agent) {
				n.pod("web", row.spec)
				n.expect(soon, "web", row.want)
				for _, e := range row.events {
					if !strings.Contains(once(n), e) {
						t.Errorf("no event says %q:\n%s", e, once(n))
					}
				}
			})
		})
	}
}

// once are the events, without how often they came.
func once(n *node) string {
	var text strings.Builder
	for e := range store.List[*corev1.Event](n.store.Snapshot()) {
		fmt.Fprintf(&text, "%s %s: %s\n", e.Type, e.Reason, e.Message)
	}
	return text.String()
}

func TestAPullHoldsNoOtherPod(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.images.took = time.Minute
		n.images.offer("example.com/web:v1")
		n.pod("slow", `{containers: [{name: a, image: "example.com/web:v1"}]}`)
		n.expect(soon, "slow", "Pending a=ContainerCreating")
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.delete("slow", 30)
		n.expect(soon, "slow", "gone")
	})
}

func TestALongPullIsTalkedOfInOneEvent(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.images.took = 25 * time.Second
		n.images.offer("example.com/web:v1")
		n.pod("web", `{containers: [{name: a, image: "example.com/web:v1"}]}`)
		n.expect(12*time.Second, "web", "Pending a=ContainerCreating")
		const so, done = `Normal Pulling: Pulling image "example.com/web:v1": 30 of 90 MiB`, `Normal Pulled: Successfully pulled image "example.com/web:v1" in 25s (25s including waiting). Image size: 94371840 bytes.`
		if strings.Count(once(n), so) != 1 {
			t.Errorf("the events are:\n%s", once(n))
		}
		n.expect(15*time.Second, "web", "Running ready a=running")
		if strings.Count(once(n), "MiB") != 1 || !strings.Contains(once(n), done) {
			t.Errorf("the events are:\n%s", once(n))
		}
	})
}

func TestPullSecretsAreUsedForWhatTheyFit(t *testing.T) {
	n := newNode(t)
	secret := func(name, key, text string) {
		n.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "hello", Name: name}, Data: map[string][]byte{key: []byte(text)}})
	}
	secret("new", corev1.DockerConfigJsonKey, `{"auths": {"https://index.docker.io/v1/": {"username": "hub", "password": "1"}, "example.com": {"auth": "`+
		base64.StdEncoding.EncodeToString([]byte("all:2"))+`"}, "example.com/team": {"username": "team", "password": "3"}, "*.example.org": {"username": "star", "password": "4"},
		"registry-?.example.net:5000": {"username": "mark", "password": "5"}, "token.example.com": {"identitytoken": "t"}}}`)
	secret("old", corev1.DockerConfigKey, `{"http://example.com/v2/": {"username": "old", "password": "6"}}`)
	secret("broken", corev1.DockerConfigJsonKey, `{"auths":`)
	p := parsePod(t, "web", `{imagePullSecrets: [{name: missing}, {name: broken}, {name: new}, {name: old}], containers: [{name: a}]}`)
	for ref, want := range map[string]string{
		"web:v1":                                            "hub:1",
		"docker.io/me/web":                                  "hub:1",
		"example.com/web:v1":                                "all:2 old:6",
		"example.com/team/web:v1":                           "team:3 all:2 old:6",
		"example.com/team:v1":                               "team:3 all:2 old:6",
		"example.com/teams/web:v1":                          "all:2 old:6",
		"a.example.org/web:v1":                              "star:4",
		"a.example.org:5000/web:v1":                         "",
		"a.b.example.org/web:v1":                            "",
		"registry.example.com/x:v1":                         "",
		"registry-7.example.net:5000/x:v1":                  "mark:5",
		"registry-77.example.net:5000/x:v1":                 "",
		"token.example.com/x:v1":                            ":t",
		"No Reference":                                      "",
		"example.com/web@sha256:" + strings.Repeat("a", 64): "all:2 old:6",
	} {
		auths, missing := credentials(p, ref, n.store.Snapshot())
		var got []string
		for _, a := range auths {
			got = append(got, a.Username+":"+a.Password)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
		if ref != "No Reference" && strings.Join(missing, " ") != "missing" {
			t.Errorf("%s: missing are %v", ref, missing)
		}
	}
}

func TestTheNodeSaysWhichImagesItHas(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		synctest.Wait()
		a.imagesHere([]image.Image{
			{Ref: "example.com/small:v1", ID: "sha256:1", Size: 10}, {Ref: "example.com/large:v2", ID: "sha256:2", Size: 20}, {Ref: "example.com/large:v1", ID: "sha256:2", Size: 20},
		})
		time.Sleep(soon)
		synctest.Wait()
		want := []corev1.ContainerImage{{Names: []string{"example.com/large:v1", "example.com/large:v2"}, SizeBytes: 20}, {Names: []string{"example.com/small:v1"}, SizeBytes: 10}}
		here, _ := store.Get[*corev1.Node](n.store.Snapshot(), "", "here")
		if diff := cmp.Diff(want, here.Status.Images); diff != "" {
			t.Error(diff)
		}
	})
}

func TestImagesOfPodsThatAreHereOrWantedAreInUse(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.pod("web", `{containers: [{name: a}]}`)
		n.expect(soon, "web", "Running ready a=running")
		n.pod("late", `{initContainers: [{name: i, image: "example.com/init"}], containers: [{name: a, image: "example.com/nope@sha256:`+strings.Repeat("a", 64)+`"}]}`)
		n.expect(soon, "late", "Pending i=ErrImagePull a=PodInitializing")
		used, err := a.imagesInUse(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{runtimetest.ImageName, "example.com/init:latest", "example.com/nope@sha256:" + strings.Repeat("a", 64)} {
			if !used[want] {
				t.Errorf("%s is not in use: %v", want, used)
			}
		}
	})
}

const modelled = `{volumes: [{name: m, image: {reference: "example.com/model:v1"}}], containers: [{name: a, volumeMounts: [{name: m, mountPath: /m}]}, {name: b}]}`

func TestAVolumesImageIsPulledOnceForItsPod(t *testing.T) {
	story(t, func(n *node, a *Agent) {
		n.images.offer("example.com/model:v1")
		n.pod("web", modelled)
		n.expect(soon, "web", "Running ready a=running b=running")
		if !strings.Contains(once(n), `Normal Pulled: Successfully pulled image "example.com/model:v1"`) {
			t.Errorf("the events are:\n%s", once(n))
		}
		box, err := n.fake.Sandbox(t.Context(), "uid-web")
		if err != nil || len(box.Images) != 1 || box.Images[0].Image != "example.com/model:v1" {
			t.Errorf("the sandbox is %+v, %v", box, err)
		}
		if used, err := a.imagesInUse(t.Context()); err != nil || !used["sha256:7"] || !used["example.com/model:v1"] {
			t.Errorf("in use are %v, %v", used, err)
		}
		n.images.have("example.com/model:v1", false)
		n.fake.Exit(id("web", "a", 0), 1)
		n.expect(soon, "web", "Running ready a=running/1 b=running")
		if got := n.images.asked(); got != 1 {
			t.Errorf("the registry was asked %d times", got)
		}
		n.delete("web", 1)
		n.expect(10*time.Second, "web", "gone")
	})
}

func TestAVolumesImageThatCannotBeHadIsTriedAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.pod("web", modelled)
		n.expect(soon, "web", "Pending a=ErrImagePull b=running")
		for _, e := range []string{`Warning Failed: Failed to pull image "example.com/model:v1": image example.com/model:v1 not found`, "Warning Failed: Error: ErrImagePull"} {
			if !strings.Contains(once(n), e) {
				t.Errorf("no event says %q:\n%s", e, once(n))
			}
		}
		n.expect(12*time.Second, "web", "Pending a=ImagePullBackOff b=running")
		n.images.offer("example.com/model:v1")
		n.expect(time.Minute, "web", "Running ready a=running b=running")
	})
}

func TestAVolumesImageThatWasRemovedBeforeItWasMountedIsPulledAgain(t *testing.T) {
	story(t, func(n *node, _ *Agent) {
		n.images.have("example.com/model:v1", true) // and the runtime does not have it
		n.images.offer("example.com/model:v1")
		n.pod("web", modelled)
		n.expect(soon, "web", "Pending a=FailedMount b=running")
		n.images.have("example.com/model:v1", false)
		n.expect(5*time.Second, "web", "Running ready a=running b=running")
	})
}
