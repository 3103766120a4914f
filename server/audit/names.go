package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A log at DIR/audit.log has its head in DIR/audit.head, its lock in DIR/audit.lock, and its earlier files in
// DIR/audit-N.log, where N is the number of the last line in it.

func stem(path string) string { return strings.TrimSuffix(path, ".log") }

func headPath(path string) string { return stem(path) + ".head" }

func lockPath(path string) string { return stem(path) + ".lock" }

const digits = 20 // of the largest number, so that names sort as numbers do

func archivePath(path string, last uint64) string {
	return fmt.Sprintf("%s-%0*d.log", stem(path), digits, last)
}

// archive is an earlier file of a log.
type archive struct {
	path string
	last uint64 // the number of its last line
}

// archives lists the earlier files that have a name of one, the oldest first.
func archives(path string) (all []archive, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	prefix := filepath.Base(stem(path)) + "-"
	for _, e := range entries {
		number, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".log"), prefix)
		last, valid := parseSeq([]byte(strings.TrimLeft(number, "0")))
		if one := (archive{filepath.Join(filepath.Dir(path), e.Name()), last}); ok && valid && one.path == archivePath(path, last) {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b archive) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// InUse reports whether there is anything of a log at a path.
func InUse(path string) (bool, error) {
	earlier, err := archives(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if _, e := os.Lstat(headPath(path)); err != nil || e == nil || len(earlier) > 0 {
		return true, err
	}
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0, nil
}

// kept lists the earlier files, the oldest first, without those that the head tells to be deleted: what has
// such a name yet, a kill left, or somebody put there.
func kept(path string) ([]archive, error) {
	all, err := archives(path)
	deleted := deletedTo(path)
	return slices.DeleteFunc(all, func(a archive) bool { return a.last <= deleted }), err
}

// Files lists the files of the log at a path that are there, the oldest first.
func Files(path string) (files []string, err error) {
	all, err := kept(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, a := range all {
		files = append(files, a.path)
	}
	if _, e := os.Stat(path); e == nil {
		files = append(files, path)
	}
	return files, err
}

// join gives err as of, where it is not that already.
func join(of, err error) error {
	if errors.Is(err, of) {
		return err
	}
	return errors.Join(of, err)
}
