// Package claims checks that the tests named in the documentation exist.
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

// Every test or benchmark that a document names exists.
func TestNamedTestsExist(t *testing.T) {
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

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors returns the anchors of the headings of a document, as GitHub makes them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		all[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-")] = true
	}
	return all
}

func TestLinksOfDocumentsLeadToFilesAndHeadings(t *testing.T) {
	root := filepath.Join("..", "..")
	checked := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "shared/*/SPEC.md", "server/*/SPEC.md"} {
		documents, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		for _, document := range documents {
			text, err := os.ReadFile(document)
			require.NoError(t, err)
			for _, found := range link.FindAllStringSubmatch(string(text), -1) {
				target, anchor, _ := strings.Cut(found[1], "#")
				if strings.HasPrefix(target, "https://") {
					continue
				}
				path := document
				if target != "" {
					path = filepath.Join(filepath.Dir(document), target)
				}
				_, err := os.Stat(path)
				require.NoError(t, err, "%s links to %s", document, found[1])
				checked++
				if anchor != "" {
					linked, err := os.ReadFile(path)
					require.NoError(t, err)
					require.True(t, anchors(string(linked))[anchor], "%s links to %s", document, found[1])
				}
			}
		}
	}
	require.Greater(t, checked, 100)
}
