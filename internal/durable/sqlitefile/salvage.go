package sqlitefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/coffer-storage/coffer/internal/durable"
)

// Report is the result of checking or repairing a database.
type Report struct {
	File    string   `json:"file"`
	Damage  []string `json:"damage"`          // the first messages about damage; empty if the file is intact
	Read    int      `json:"read"`            // number of readable rows
	Lost    int      `json:"lost"`            // number of unreadable rows, as far as an intact index lists them
	Names   []string `json:"names,omitempty"` // names of the unreadable rows, if they mean something to people
	Damaged string   `json:"damagedFile,omitempty"`
}

// maxDamage is the largest number of messages in a Report.
const maxDamage = 10

// AddDamage adds a message about damage. It drops messages beyond the tenth.
func (f *Report) AddDamage(err error) {
	if len(f.Damage) < maxDamage {
		f.Damage = append(f.Damage, err.Error())
	}
}

// CheckIntegrity runs SQLite's own check of all pages and indexes, and adds the damage that it finds.
func (f *Report) CheckIntegrity(c *Conn) error {
	for row, err := range c.Rows("PRAGMA integrity_check(10)") {
		switch {
		case IsDamage(err):
			f.AddDamage(err)
		case err != nil:
			return err
		case row.ColumnText(0) != "ok":
			f.AddDamage(fmt.Errorf("%w: %s", sqlite3.CORRUPT, row.ColumnText(0)))
		}
	}
	return nil
}

// readySuffix is the suffix of an intact database that is about to replace another one. While it exists, the other
// database does not open, because some of its files may already have been moved away.
const readySuffix = ".new"

// Salvage replaces the damaged database in report.File with a new one. copy copies rows from the damaged database to
// the new one. source opens the damaged database; if that fails because of damage, copy gets a rescue copy instead. The
// damaged file and its log stay beside the new file. Nothing else may have the database open.
//
// The order of the steps makes Salvage safe against kills. It writes and syncs the new database under another name,
// renames it to readySuffix when it is complete, and only then moves the damaged files away. If a kill interrupts that,
// the next call continues at this point; a kill before it leaves the damaged database unchanged.
func Salvage(ctx context.Context, report *Report, schema Schema, source func() (*Conn, error), copy func(from, to *Conn) error) (err error) {
	path := report.File
	if _, err := os.Stat(path + readySuffix); err == nil {
		if _, err := replaceDatabase(path); err != nil {
			return err
		}
	}
	repaired := path + ".repaired"
	clean := func() error { return errors.Join(removeAll(repaired), removeAll(path+rescueSuffix)) }
	if err := clean(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	to, err := Open(ctx, repaired, schema)
	if err != nil {
		return err
	}
	from, err := source()
	if IsDamage(err) {
		report.AddDamage(err)
		from, err = openRescueCopy(ctx, path, repaired, schema)
	}
	switch {
	case err == nil:
		err = copy(from, to)
	case IsDamage(err):
		report.AddDamage(errors.New("nothing can be recovered"))
		err = nil
	}
	if err == nil {
		err = to.Exec("PRAGMA wal_checkpoint(TRUNCATE)") // does nothing if there is no log
	}
	if err = errors.Join(err, from.Close(), to.Close()); err != nil {
		return err
	}
	if err := syncFile(repaired); err != nil {
		return err
	}
	if err := durable.Rename(repaired, path+readySuffix); err != nil {
		return err
	}
	report.Damaged, err = replaceDatabase(path)
	return err
}

// replaceDatabase moves a database, its log and its journal away, and moves the database that is ready into its place.
// The last step is the rename, so that a kill before it leaves the database that is ready for the next call. The mark
// is removed before the log is moved, because a mark without a log would look like damage.
func replaceDatabase(path string) (damaged string, err error) {
	damaged = fmt.Sprintf("%s.damaged-%d", path, time.Now().UnixNano())
	if err := os.Link(path, damaged); err != nil {
		return "", err
	}
	if err := remove(path + markSuffix); err != nil {
		return "", err
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if err := os.Rename(path+suffix, damaged+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := remove(path + "-shm"); err != nil {
		return "", err
	}
	return filepath.Base(damaged), durable.Rename(path+readySuffix, path)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeAll removes a database and the files beside it.
func removeAll(path string) (err error) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		err = errors.Join(err, remove(path+suffix))
	}
	return err
}
