package admit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

func accounts(t *testing.T) *store.Snapshot {
	t.Helper()
	kinds := store.Kinds{}
	kinds.Add(schema.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, &corev1.ServiceAccount{})
	m, err := store.Open(store.NewVolatile(kinds), kinds, store.Options{Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	no := false
	if _, err := m.Update(t.Context(), "test", func(tx *store.Tx) error {
		for _, a := range []*corev1.ServiceAccount{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "default"}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "quiet"}, AutomountServiceAccountToken: &no},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "puller"}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}},
		} {
			if err := tx.Create(a); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return m.Snapshot()
}

func TestAPodGetsWhatItsServiceAccountBrings(t *testing.T) {
	s := accounts(t)
	const access = "kube-api-access-"
	for _, row := range []struct {
		what, namespace, spec string
		mounts                string // of each container: where the token is mounted from
		pulls                 string
		err                   string
	}{
		{"one that says nothing", "shop", `{initContainers: [{name: i}], containers: [{name: a}, {name: b}]}`, "i:+ a:+ b:+", "", ""},
		{"one whose account says no", "shop", `{serviceAccountName: quiet, containers: [{name: a}]}`, "a:-", "", ""},
		{"one that says yes where its account says no", "shop", `{serviceAccountName: quiet, automountServiceAccountToken: true, containers: [{name: a}]}`, "a:+", "", ""},
		{"one that says no", "shop", `{automountServiceAccountToken: false, containers: [{name: a}]}`, "a:-", "", ""},
		{"a container that has something there", "shop",
			`{containers: [{name: a, volumeMounts: [{name: own, mountPath: /var/run/secrets/kubernetes.io/serviceaccount}]}, {name: b}], volumes: [{name: own, emptyDir: {}}]}`, "a:- b:+", "", ""},
		{"an account with secrets to pull with", "shop", `{serviceAccountName: puller, containers: [{name: a}]}`, "a:+", "registry", ""},
		{"a pod with secrets of its own", "shop", `{serviceAccountName: puller, imagePullSecrets: [{name: mine}], containers: [{name: a}]}`, "a:+", "mine", ""},
		{"a namespace whose account is yet to come", "new", `{containers: [{name: a}]}`, "a:+", "", ""},
		{"an account that is not there", "shop", `{serviceAccountName: nobody, containers: [{name: a}]}`, "", "",
			`pods "p" is forbidden: error looking up service account shop/nobody: serviceaccount "nobody" not found`},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: row.namespace, Name: "p", UID: "u"}}
		if err := yaml.UnmarshalStrict([]byte(row.spec), &p.Spec); err != nil {
			t.Fatal(err)
		}
		if err := serviceAccount(s, newPod(p)); err != nil || row.err != "" {
			if err == nil || err.Error() != row.err {
				t.Errorf("%s: %v, want %s", row.what, err, row.err)
			}
			continue
		}
		once := p.DeepCopy()
		if err := serviceAccount(s, newPod(p)); err != nil || cmp.Diff(once, p) != "" {
			t.Errorf("%s: the second time: %v %s", row.what, err, cmp.Diff(once, p))
		}
		var mounts, pulls []string
		for _, c := range append(p.Spec.InitContainers, p.Spec.Containers...) {
			sign := ":-"
			for _, m := range c.VolumeMounts {
				if strings.HasPrefix(m.Name, access) && m.ReadOnly {
					sign = ":+"
				}
			}
			mounts = append(mounts, c.Name+sign)
		}
		for _, x := range p.Spec.ImagePullSecrets {
			pulls = append(pulls, x.Name)
		}
		if got := strings.Join(mounts, " "); got != row.mounts {
			t.Errorf("%s: mounts %s, want %s", row.what, got, row.mounts)
		}
		if got := strings.Join(pulls, " "); got != row.pulls {
			t.Errorf("%s: pulls with %s, want %s", row.what, got, row.pulls)
		}
		volumes := 0
		for _, v := range p.Spec.Volumes {
			if strings.HasPrefix(v.Name, access) && len(v.Name) == len(access)+5 {
				volumes++
			}
		}
		if strings.Contains(row.mounts, "+") != (volumes == 1) {
			t.Errorf("%s: %d volumes", row.what, volumes)
		}
	}
}
