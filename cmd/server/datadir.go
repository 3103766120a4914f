package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/server/audit"
)

// auditPath is of the directory of the audit log.
func auditPath(c *config.Config) string { return filepath.Join(c.Data, "audit") }

// cacheDir is the embedded store's.
func cacheDir(c *config.Config) string { return filepath.Join(c.Data, "cache") }

// keysDir is where keysets are without a Redis for them.
func keysDir(c *config.Config) string { return filepath.Join(c.Data, "keys") }

// auditMarkPath is the path of the file that marks a data directory with an audit log.
func auditMarkPath(c *config.Config) string { return filepath.Join(c.Data, "log.made") }

const auditMark = "There is an audit log. While this file is here, no other one is begun in its place but by coffer audit begin.\n"

// logGone reports whether there was an audit log and nothing is left of it. If a part is left, package audit refuses
// the rest.
func logGone(c *config.Config) (bool, error) {
	if !there(auditMarkPath(c)) {
		return false, nil
	}
	left, err := audit.Exists(auditPath(c))
	return err == nil && !left, err
}

// markPath is of the file that says that servers of this data directory once had keysets, wherever these and
// the cache are.
func markPath(c *config.Config) string { return filepath.Join(c.Data, "keys.made") }

const mark = "There were keysets. While this file is here, servers do not start where there are none, since new ones would open nothing.\n"

// markUsed leaves the mark.
func markUsed(c *config.Config) error {
	return leaveMark(markPath(c), mark)
}

// leaveMark makes a file that says what there was, for its being gone to be noticed.
func leaveMark(path, text string) error {
	if there(path) {
		return nil
	}
	if err := durable.Create(path, []byte(text)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}
	return nil
}

// wasUsed reports whether there were keysets: by the mark, or an embedded cache.
func wasUsed(c *config.Config) bool { return there(markPath(c)) || there(cacheDir(c)) }

// missingKeys says what is to be done, and what is in the way of who wants to begin anew.
func missingKeys(c *config.Config, where string) error {
	var left []string
	for _, path := range []string{cacheDir(c), markPath(c), auditPath(c), auditMarkPath(c)} {
		if there(path) {
			left = append(left, path)
		}
	}
	return refuse(fmt.Errorf("the keys that this data directory was used with are missing from %s: restore them; to begin anew, where nothing that is under them is needed any more, "+
		"remove %s", where, strings.Join(left, " and ")))
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
