package repo

import (
	"os"
	"path/filepath"
)

// writeDurably replaces a file at once and for good: after it returns nil a power cut does not bring the old one back.
func writeDurably(path string, content []byte) error {
	if err := replaceFile(path, content); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replaceFile is writeDurably, but for the name, which is durable when its folder is.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	if err = writeAndSync(tmp, content); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// writeAndSync writes and closes f.
func writeAndSync(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
