package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
)

// A place is where one Mainstay keeps its things: what lasts under data, what a reboot may take under run.
type place struct{ data string }

func (p place) under(parts ...string) string {
	return filepath.Join(append([]string{p.data}, parts...)...)
}

// run is short, since sockets are in it, and another one for each data folder.
func (p place) run() string {
	dir, err := filepath.Abs(p.data)
	if err != nil {
		dir = p.data
	}
	if dir == "/var/lib/mainstay" {
		return "/run/mainstay"
	}
	h := fnv.New32a()
	h.Write([]byte(dir))
	return fmt.Sprintf("/run/mainstay-%08x", h.Sum32())
}

func (p place) kubeconfig() string { return p.under("kubeconfig") }
func (p place) token() string      { return p.under("git-token") }
func (p place) endpointsFile() string {
	return p.under("endpoints.json")
}

// endpoints say where a running Mainstay answers, and what it was started with that ending it must know.
type endpoints struct {
	PID        int    `json:"pid"`
	Version    string `json:"version"`
	Build      string `json:"build"`
	Node       string `json:"node"`
	API        string `json:"api"` // URL
	Git        string `json:"git"` // URL
	Containerd string `json:"containerd,omitempty"`
	Registries string `json:"registries"`
}

func (p place) writeEndpoints(e endpoints) error {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(p.endpointsFile(), append(b, '\n'), 0o644)
}

// endpoints reads what the last start has written. The error says how to start.
func (p place) endpoints() (endpoints, error) {
	var e endpoints
	b, err := os.ReadFile(p.endpointsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return e, fmt.Errorf("no Mainstay was started with its data in %s: start one with mainstay up, or name its folder with --data", p.data)
	}
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(b, &e)
}

// replaceFile writes a file so that a reader sees the old one or the new one.
func replaceFile(path string, b []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
