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

// Found is what a check or a repair found in a database.
type Report struct {
	File    string   `json:"file"`
	Damage  []string `json:"damage"`          // the first errors of damage; empty if the file is whole
	Read    int      `json:"read"`            // rows that can be read
	Lost    int      `json:"lost"`            // rows that cannot, as far as an undamaged index lists them
	Names   []string `json:"names,omitempty"` // of the lost rows, if they have names for people
	Damaged string   `json:"damagedFile,omitempty"`
}

// maxDamage is how many errors a Found has at most.
const maxDamage = 10

// Add adds an error of damage.
func (f *Report) AddDamage(err error) {
	if len(f.Damage) < maxDamage {
		f.Damage = append(f.Damage, err.Error())
	}
}

// Integrity adds what SQLite's own check of all pages and indexes finds.
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

// readySuffix is of a whole database that is to take the place of another one. Until it has, that one does not open: its log or journal may
// have been moved away already.
const readySuffix = ".new"

// Salvage puts a new database in the place of the damaged one in found.File, with the rows that copy copies from one to the other. source
// opens the damaged one; if that fails, copy gets a copy of it that opens. The damaged file, and its log, stay beside the new one. Nothing
// else may have the database open. After a kill, the next call continues.
func Salvage(ctx context.Context, found *Report, schema Schema, source func() (*Conn, error), copy func(from, to *Conn) error) (err error) {
	path := found.File
	if _, err := os.Stat(path + readySuffix); err == nil {
		if _, err := exchange(path); err != nil {
			return err
		}
	}
	made := path + ".repaired"
	clean := func() error { return errors.Join(removeAll(made), removeAll(path+rescueSuffix)) }
	if err := clean(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	to, err := Open(ctx, made, schema)
	if err != nil {
		return err
	}
	from, err := source()
	if IsDamage(err) {
		found.AddDamage(err)
		from, err = rescue(ctx, path, made, schema)
	}
	switch {
	case err == nil:
		err = copy(from, to)
	case IsDamage(err):
		found.AddDamage(errors.New("everything is lost"))
		err = nil
	}
	if err == nil {
		err = to.Exec("PRAGMA wal_checkpoint(TRUNCATE)") // which does nothing without a log
	}
	if err = errors.Join(err, from.Close(), to.Close()); err != nil {
		return err
	}
	if err := syncFile(made); err != nil {
		return err
	}
	if err := durable.Rename(made, path+readySuffix); err != nil {
		return err
	}
	found.Damaged, err = exchange(path)
	return err
}

// exchange moves a database away, with its log or journal, and the one that is ready into its place.
func exchange(path string) (damaged string, err error) {
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

// removeAll removes a database with the files beside it.
func removeAll(path string) (err error) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		err = errors.Join(err, remove(path+suffix))
	}
	return err
}
