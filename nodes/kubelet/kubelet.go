// Package kubelet answers over HTTP what people and their tools ask of a node, at the paths and in the formats of a kubelet:
// how it is, which pods it has, and what they use. Whoever serves it decides who may ask.
package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/mainstay-gitops/mainstay/nodes/usage"
)

// Config is what a node can tell of itself. All is needed.
type Config struct {
	Node     string
	Pods     func() []*corev1.Pod // of this node, which nobody changes
	Usage    func(ctx context.Context) (usage.Measurement, error)
	Settings func() kubeletconfig.KubeletConfiguration
	Machine  string // folder of the machine's own logs; one that is not there is empty
}

// paths are what a node answers.
const paths = "/healthz, /pods, /stats/summary, /metrics, /metrics/resource, /configz, /logs/"

// New is what answers for a node. Everything is only read.
func New(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("GET /pods", c.pods)
	mux.HandleFunc("GET /stats/summary", c.summary)
	mux.HandleFunc("GET /metrics", c.metrics)
	mux.HandleFunc("GET /metrics/resource", c.resources)
	mux.HandleFunc("GET /configz", c.configz)
	mux.HandleFunc("GET /logs/", c.machineLogs)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, fmt.Sprintf("node %s does not serve %s %s: it serves GET of %s", c.Node, r.Method, r.URL.Path, paths), http.StatusNotFound)
	})
	return mux
}

func (c Config) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
	for _, p := range c.Pods() {
		one := *p
		one.TypeMeta = metav1.TypeMeta{}
		list.Items = append(list.Items, one)
	}
	answer(w, list)
}

func (c Config) configz(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{"kubeletconfig": c.Settings()})
}

func answer(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // a client that has gone needs no answer
}

// machineLogs shows the folder of the machine's logs; what its links lead to outside of it is not shown.
func (c Config) machineLogs(w http.ResponseWriter, r *http.Request) {
	root, err := os.OpenRoot(c.Machine)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer root.Close()
	http.StripPrefix("/logs", http.FileServerFS(root.FS())).ServeHTTP(w, r)
}
