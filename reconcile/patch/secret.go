package patch

import (
	"encoding/base64"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func isSecret(gk schema.GroupKind) bool {
	return gk == corev1.SchemeGroupVersion.WithKind("Secret").GroupKind()
}

func clone(m map[string]any) map[string]any { return maps.Clone(m) }

// textToData moves stringData to data. What is no text is left, for the reader to refuse.
func textToData(secret map[string]any) {
	text, ok := secret["stringData"].(map[string]any)
	if !ok {
		if secret["stringData"] == nil {
			delete(secret, "stringData")
		}
		return
	}
	old, _ := secret["data"].(map[string]any)
	data, rest := map[string]any{}, map[string]any{}
	maps.Copy(data, old)
	for key, v := range text {
		if s, ok := v.(string); ok {
			data[key] = base64.StdEncoding.EncodeToString([]byte(s))
		} else {
			rest[key] = v
		}
	}
	delete(secret, "stringData")
	if len(data) > 0 {
		secret["data"] = data
	}
	if len(rest) > 0 {
		secret["stringData"] = rest
	}
}
