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

// auditPath returns the directory of the audit log.
func auditPath(c *config.Config) string { return filepath.Join(c.Data, "audit") }

// cacheDir returns the directory of the embedded cache.
func cacheDir(c *config.Config) string { return filepath.Join(c.Data, "cache") }

// keysDir returns the directory of the embedded keystore.
func keysDir(c *config.Config) string { return filepath.Join(c.Data, "keys") }

// auditMarkPath returns the file that marks a data directory with an audit log.
func auditMarkPath(c *config.Config) string { return filepath.Join(c.Data, "log.made") }

const auditMark = "This data directory has an audit log. While this file exists, only `coffer audit begin` begins another log in its place.\n"

// auditLogGone reports whether the data directory had an audit log and nothing of it is left. Package audit refuses a log of which a part is
// left.
func auditLogGone(c *config.Config) (bool, error) {
	if !exists(auditMarkPath(c)) {
		return false, nil
	}
	left, err := audit.Exists(auditPath(c))
	return err == nil && !left, err
}

// keysetMarkPath returns the file that marks a data directory whose servers had keysets, in the directory or in Redis.
func keysetMarkPath(c *config.Config) string { return filepath.Join(c.Data, "keys.made") }

const keysetMark = "This data directory had keysets. While this file exists, servers do not start without keysets, because new ones would open nothing.\n"

// createKeysetMark marks a data directory with keysets.
func createKeysetMark(c *config.Config) error {
	return createMark(keysetMarkPath(c), keysetMark)
}

// createMark creates a file, if it does not exist.
func createMark(path, text string) error {
	if exists(path) {
		return nil
	}
	if err := durable.Create(path, []byte(text)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}
	return nil
}

// hadKeysets reports whether there were keysets, by the mark or an embedded cache.
func hadKeysets(c *config.Config) bool { return exists(keysetMarkPath(c)) || exists(cacheDir(c)) }

// missingKeysError returns an error with two remedies: restore the keysets, or remove the named files to start again.
func missingKeysError(c *config.Config, where string) error {
	var left []string
	for _, path := range []string{cacheDir(c), keysetMarkPath(c), auditPath(c), auditMarkPath(c)} {
		if exists(path) {
			left = append(left, path)
		}
	}
	return refusedError(fmt.Errorf("the keys of this data directory are missing from %s: restore them; if nothing that they sealed is needed any more, start again by "+
		"removing %s", where, strings.Join(left, " and ")))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
