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
func auditLogGone(c *config.Config) (bool, error) {
	if !exists(auditMarkPath(c)) {
		return false, nil
	}
	left, err := audit.Exists(auditPath(c))
	return err == nil && !left, err
}

// markPath is of the file that says that servers of this data directory once had keysets, wherever these and
// the cache are.
func keysetMarkPath(c *config.Config) string { return filepath.Join(c.Data, "keys.made") }

const keysetMark = "There were keysets. While this file is here, servers do not start where there are none, since new ones would open nothing.\n"

// markUsed leaves the mark.
func createKeysetMark(c *config.Config) error {
	return createMark(keysetMarkPath(c), keysetMark)
}

// leaveMark makes a file that says what there was, for its being gone to be noticed.
func createMark(path, text string) error {
	if exists(path) {
		return nil
	}
	if err := durable.Create(path, []byte(text)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}
	return nil
}

// wasUsed reports whether there were keysets: by the mark, or an embedded cache.
func hadKeysets(c *config.Config) bool { return exists(keysetMarkPath(c)) || exists(cacheDir(c)) }

// missingKeys says what is to be done, and what is in the way of who wants to begin anew.
func missingKeysError(c *config.Config, where string) error {
	var left []string
	for _, path := range []string{cacheDir(c), keysetMarkPath(c), auditPath(c), auditMarkPath(c)} {
		if exists(path) {
			left = append(left, path)
		}
	}
	return refusedError(fmt.Errorf("the keys that this data directory was used with are missing from %s: restore them; to begin anew, where nothing that is under them is needed any more, "+
		"remove %s", where, strings.Join(left, " and ")))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
