package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// Badger ends the process when a table is shorter than it should be, takes a folder without its MANIFEST for a new one, and
// removes tables that the MANIFEST does not list. So its files are looked at before it opens them.

// aside is appended to the name of a file that is damaged, and is not used any more; unlisted to a second name of a table
// that is not in the MANIFEST.
const (
	aside    = ".damaged"
	unlisted = ".unlisted"
)

// A manifest is Badger's list of its tables, each with its level.
type manifest map[uint64]badger.TableManifest

// checkFiles says what is wrong with Badger's files. With Options.AcceptLoss it also sets aside what is damaged, so that
// Badger opens the rest.
func (b *Backend) checkFiles() (found []string, err error) {
	tables, err := filepath.Glob(filepath.Join(b.folder(), "*.sst"))
	if err != nil {
		return nil, err
	}
	m, wrong, err := b.readManifest()
	if err != nil {
		return nil, err
	}
	held, err := b.unlisted()
	if err != nil {
		return nil, err
	}
	rebuild := wrong != "" || b.opts.AcceptLoss && len(held) > 0
	if wrong != "" {
		found = append(found, wrong)
	}
	if rebuild && b.opts.AcceptLoss {
		if m, err = b.listTables(tables, held); err != nil {
			return nil, err
		}
	}
	spoilt := b.checkTables(m)
	for _, name := range spoilt {
		found = append(found, fmt.Sprintf("Badger's table %s is missing, or not as it was written", name))
	}
	registry := b.checkRegistry()
	if registry != "" {
		found = append(found, registry)
	}
	switch {
	case !b.opts.AcceptLoss:
		if wrong == "" {
			err = b.keepUnlisted(m, tables)
		}
		return found, err
	case registry != "":
		if err := b.setAside("KEYREGISTRY"); err != nil {
			return nil, err
		}
	}
	if !rebuild && len(spoilt) == 0 {
		return found, nil
	}
	for _, name := range spoilt {
		if err := b.setAside(name); err != nil {
			return nil, err
		}
		id, _ := table.ParseFileID(name)
		delete(m, id)
	}
	return found, b.writeManifest(m)
}

// readManifest returns what is wrong with the MANIFEST. Without any files there is nothing wrong with having none.
func (b *Backend) readManifest() (m manifest, wrong string, err error) {
	f, err := os.Open(filepath.Join(b.folder(), badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		for _, pattern := range []string{"*.sst", "*.vlog", "*.mem"} {
			if names, _ := filepath.Glob(filepath.Join(b.folder(), pattern)); len(names) > 0 {
				return nil, "Badger's MANIFEST is missing", nil
			}
		}
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	err = guarded(func() error {
		read, _, err := badger.ReplayManifestFile(f, 0, badgerOptions(b.folder(), nil))
		m = read.Tables
		return err
	})
	if err != nil {
		return nil, "Badger's MANIFEST cannot be read: " + err.Error(), nil
	}
	return m, "", nil
}

// checkTables names the tables in m that Badger could not open.
func (b *Backend) checkTables(m manifest) (spoilt []string) {
	for id := range m {
		name := table.IDToFilename(id)
		if checkTable(filepath.Join(b.folder(), name), id) != nil {
			spoilt = append(spoilt, name)
		}
	}
	return spoilt
}

// checkTable does what Badger does to open a table, but in this goroutine, where a panic can be caught.
func checkTable(path string, id uint64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return guarded(func() error {
		_, err := table.OpenInMemoryTable(data, id, &table.Options{ChkMode: options.OnBlockRead})
		return err
	})
}

// checkRegistry looks at the file for Badger's keys. There are none: nothing is encrypted by Badger.
func (b *Backend) checkRegistry() string {
	err := guarded(func() error {
		if _, err := os.Stat(filepath.Join(b.folder(), badger.KeyRegistryFileName)); err != nil {
			return nil // Badger makes one
		}
		r, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: b.folder(), ReadOnly: true})
		if err == nil {
			err = r.Close()
		}
		return err
	})
	if err != nil {
		return "Badger's KEYREGISTRY cannot be read: " + err.Error()
	}
	return ""
}

func (b *Backend) setAside(name string) error {
	path := filepath.Join(b.folder(), name)
	err := os.Rename(path, path+aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	b.opts.Log.Warn("set a damaged file aside", "file", path+aside)
	return err
}

// keepUnlisted gives a second name to tables that Badger is about to remove since they are not in the MANIFEST. After a
// crash they are not needed; but a MANIFEST that was cut short, or is an old one, reads well.
func (b *Backend) keepUnlisted(m manifest, tables []string) error {
	for _, path := range tables {
		if id, ok := table.ParseFileID(filepath.Base(path)); ok {
			if _, listed := m[id]; listed {
				continue
			}
		}
		if err := os.Link(path, path+unlisted); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("keep a table: %w", err)
		}
	}
	return nil
}

func (b *Backend) unlisted() ([]string, error) {
	return filepath.Glob(filepath.Join(b.folder(), "*"+unlisted))
}

// dropUnlisted removes what keepUnlisted kept, when nothing is missing.
func (b *Backend) dropUnlisted() error {
	held, err := b.unlisted()
	for _, path := range held {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// listTables is a manifest of all tables that can be opened, those that were held back included. On level 0 any table may
// be: Badger then looks at each, and takes the newest version that it finds.
func (b *Backend) listTables(tables, held []string) (manifest, error) {
	var last uint64
	for _, path := range tables {
		id, _ := table.ParseFileID(filepath.Base(path))
		last = max(last, id)
	}
	for _, path := range held { // Badger may have given its number to another one
		last++
		name := table.NewFilename(last, b.folder())
		if err := os.Rename(path, name); err != nil {
			return nil, fmt.Errorf("put a table back: %w", err)
		}
		tables = append(tables, name)
	}
	m := manifest{}
	for _, path := range tables {
		if id, ok := table.ParseFileID(filepath.Base(path)); ok && checkTable(path, id) == nil {
			m[id] = badger.TableManifest{}
		}
	}
	return m, nil
}

// writeManifest replaces the MANIFEST, in Badger's own format: see its manifest.go.
func (b *Backend) writeManifest(m manifest) error {
	var set pb.ManifestChangeSet
	for id, t := range m {
		set.Changes = append(set.Changes, &pb.ManifestChange{
			Id: id, Op: pb.ManifestChange_CREATE, Level: uint32(t.Level), KeyId: t.KeyID, Compression: uint32(t.Compression),
		})
	}
	changes, err := proto.Marshal(&set)
	if err != nil {
		return err
	}
	const version = 8 // of Badger's format
	data := binary.BigEndian.AppendUint16([]byte("Bdgr\x00\x00"), version)
	data = binary.BigEndian.AppendUint32(data, uint32(len(changes)))
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(changes, crc32.MakeTable(crc32.Castagnoli)))
	path := filepath.Join(b.folder(), badger.ManifestFilename)
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, changes...))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write Badger's MANIFEST: %w", err)
	}
	return errors.Join(os.Rename(path+".new", path), syncFolders(b.folder()))
}
