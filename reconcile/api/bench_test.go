package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/reconcile/store"
)

// benchPod is of a usual size: 12 variables, probes, mounts.
func benchPod(name string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web", "tier": "front", "pod-template-hash": "5d8f9c7b6"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "mainstay.local/hello:v1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
		}}, Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}},
	}
	for i := range 12 {
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprint("VARIABLE_", i), Value: "some value or other"})
	}
	return p
}

// unguarded is a store that does not look for those who write to its objects, which costs more than all else.
func unguarded(_ *Config, o *store.Options) { o.Guard = false }

func (c *cluster) fill(b *testing.B, pods int) {
	b.Helper()
	if _, err := c.Memory.Update(b.Context(), "fill", func(tx *store.Tx) error {
		for i := range pods {
			p := benchPod(fmt.Sprintf("filled-%05d", i))
			c.Kinds.Of(p).PrepareCreate(p, types.UID(p.Name), c.Now())
			if err := tx.Create(p); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

// spent reports the CPU of client and server together.
func spent(b *testing.B, f func()) {
	began := cpu()
	b.ResetTimer()
	f()
	b.StopTimer()
	b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "us-cpu/op")
}

func typed(b *testing.B, c *cluster, content string) *kubernetes.Clientset {
	b.Helper()
	config := rest.CopyConfig(c.admin(b))
	config.ContentType, config.AcceptContentTypes = content, content
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		b.Fatal(err)
	}
	return k
}

func encodings() map[string]string {
	return map[string]string{"JSON": "application/json", "protobuf": "application/vnd.kubernetes.protobuf"}
}

func BenchmarkCreate(b *testing.B) {
	for name, content := range encodings() {
		b.Run(name, func(b *testing.B) {
			c := serve(b, unguarded)
			pods := typed(b, c, content).CoreV1().Pods("default")
			spent(b, func() {
				for i := range b.N {
					if _, err := pods.Create(b.Context(), benchPod(fmt.Sprint("p", i)), metav1.CreateOptions{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkHandlerCreate is a create without client and connection.
func BenchmarkHandlerCreate(b *testing.B) {
	c := serve(b, unguarded)
	handler := c.directly(b)
	spent(b, func() {
		for i := range b.N {
			body := fmt.Appendf(nil, `{"metadata":{"name":"p%d"},"data":{"a":"b"}}`, i)
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/api/v1/namespaces/default/configmaps", bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			if handler(w, r); w.Code != http.StatusCreated {
				b.Fatal(w.Body)
			}
		}
	})
}

func BenchmarkHandlerGet(b *testing.B) {
	c := serve(b, unguarded)
	c.fill(b, 1)
	handler := c.directly(b)
	spent(b, func() {
		for range b.N {
			w := httptest.NewRecorder()
			if handler(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/api/v1/namespaces/default/pods/filled-00000", nil)); w.Code != http.StatusOK {
				b.Fatal(w.Body)
			}
		}
	})
}

func BenchmarkStatusUpdate(b *testing.B) {
	c := serve(b, unguarded)
	pods := typed(b, c, "application/vnd.kubernetes.protobuf").CoreV1().Pods("default")
	p, err := pods.Create(b.Context(), benchPod("web"), metav1.CreateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	spent(b, func() {
		for i := range b.N {
			p.Status.Message = fmt.Sprint(i)
			if p, err = pods.UpdateStatus(b.Context(), p, metav1.UpdateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkList10000(b *testing.B) {
	for name, content := range encodings() {
		b.Run(name, func(b *testing.B) {
			c := serve(b, unguarded)
			c.fill(b, 10_000)
			client := restClient(b, c.admin(b))
			spent(b, func() {
				for range b.N {
					data, err := client.Get().AbsPath("/api/v1/pods").SetHeader("Accept", content).DoRaw(context.Background())
					if err != nil {
						b.Fatal(err)
					}
					b.SetBytes(int64(len(data)))
				}
			})
		})
	}
}

// BenchmarkFanOut is one change that 100 watches are told of.
func BenchmarkFanOut100(b *testing.B) {
	c := serve(b, unguarded)
	seen, stop := open(b, c, 100)
	maps := typed(b, c, "application/vnd.kubernetes.protobuf").CoreV1().ConfigMaps("default")
	spent(b, func() {
		for i := range b.N {
			if _, err := maps.Create(b.Context(), configMap(fmt.Sprint("m", i), map[string]string{"a": "b"}), metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		for seen.Load() < int64(100*b.N) {
			idle(b, 1_000_000)
		}
	})
	stop()
}
