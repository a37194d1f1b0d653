package apply

import (
	"encoding/json"
	"fmt"

	"github.com/mainstay-gitops/mainstay/reconcile/history"
)

// Files are the manifests that p changes, with their objects as they stand there: for the history.
func (p *Plan) Files() ([]history.File, error) {
	objects := map[string][]history.Content{}
	for _, i := range p.Items {
		if i.doc.Object == nil { // it left the repository
			continue
		}
		b, err := json.Marshal(inNamespace(i.doc.Object, i.Key.Namespace).Object)
		if err != nil {
			return nil, fmt.Errorf("remember %s: %w", i.Key, err)
		}
		objects[i.Origin.Path] = append(objects[i.Origin.Path], history.Content{Key: i.Key, Line: i.Origin.Line, JSON: b})
	}
	var files []history.File
	for _, inv := range p.inventories {
		files = append(files, history.File{Path: inv.Spec.Path, Objects: objects[inv.Spec.Path]})
	}
	for _, inv := range p.emptied {
		files = append(files, history.File{Path: inv.Spec.Path})
	}
	return files, nil
}
