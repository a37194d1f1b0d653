package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	memTable  = 2 << 20
	valueFile = 4 << 20

	// Values above the threshold stay out of memtables and tables. Badger's pool of memory for building tables, which it
	// never gives back, is then small: 14 MiB at 1,000 updates a second instead of 130.
	threshold = 1 << 10
)

// badgerOptions are the result of measuring; each matters. Large files that are mapped are written in large folios at each
// sync: so files are small. OnTableAndBlockRead would end the process when it finds damage.
func badgerOptions(dir string, log badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithMemTableSize(memTable).
		WithNumMemtables(2).
		WithNumCompactors(2).
		WithNumLevelZeroTables(3).
		WithNumLevelZeroTablesStall(6).
		WithValueThreshold(threshold).
		WithValueLogFileSize(valueFile).
		WithSyncWrites(true).
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithLogger(log)
}

// openBadger tells damage from other failures, and says what was found and accepted.
func (b *Backend) openBadger() (found []string, err error) {
	if err := removeEmpty(b.folder(), b.opts.Log); err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	if found, err = b.checkFiles(); err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", b.dir, err)
	}
	if len(found) > 0 && !b.opts.AcceptLoss {
		return nil, &Damage{Dir: b.dir, Found: append(found, "mainstay store check says which objects that costs")}
	}
	failed := func(err error) {
		if b.ready.Load() {
			b.stop(err)
		}
	}
	var db *badger.DB
	err = guarded(func() (err error) {
		db, err = badger.Open(badgerOptions(b.folder(), logger{b.opts.Log, failed}))
		return err
	})
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("open the store in %s: %w", b.dir, err)
	case err != nil:
		return nil, &Damage{Dir: b.dir, Found: append(found, "Badger cannot open it: "+err.Error()), Beyond: true}
	}
	b.db = db
	return found, nil
}

// removeEmpty removes Badger's log files of length 0. Badger creates and removes such a file in two steps, and when it was
// killed between them it does not open again. There is nothing in them.
func removeEmpty(folder string, log *slog.Logger) error {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		info, err := e.Info()
		if err != nil || info.Size() > 0 || ext != ".mem" && ext != ".vlog" {
			continue
		}
		log.Info("removing an empty file that a crash left", "file", e.Name())
		if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// A logger is Badger's. Badger only logs some errors that it should return: that a sync of the value log failed, and that
// it cannot flush a memtable, which it tries again for ever. So an error in its log counts as a failed write.
type logger struct {
	log    *slog.Logger
	failed func(error)
}

func (l logger) Errorf(format string, args ...any) {
	text := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.log.Error("badger: " + text)
	l.failed(errors.New("badger: " + text))
}

func (l logger) Warningf(format string, args ...any) {
	l.log.Warn("badger: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l logger) Infof(string, ...any)  {}
func (l logger) Debugf(string, ...any) {}
