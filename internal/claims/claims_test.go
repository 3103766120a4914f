// Package claims holds the documents to the tests that they name.
package claims

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	named   = regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Z][A-Za-z0-9]*)")
	defined = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// A test or benchmark that a document names as proof exists.
func TestProofsExist(t *testing.T) {
	root := filepath.Join("..", "..")
	exists, claimed := map[string]bool{}, map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || path != root && strings.HasPrefix(entry.Name(), ".")) {
			return filepath.SkipDir
		}
		test := strings.HasSuffix(path, "_test.go")
		if !test && !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if test {
			for _, found := range defined.FindAllSubmatch(text, -1) {
				exists[string(found[1])] = true
			}
			return err
		}
		for _, found := range named.FindAllSubmatch(text, -1) {
			claimed[string(found[1])] = path
		}
		return err
	}))
	require.Greater(t, len(claimed), 100)
	for name, path := range claimed {
		require.True(t, exists[name], "%s names %s, which does not exist", path, name)
	}
}
