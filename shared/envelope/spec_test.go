package envelope_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/envelope"
)

// SPEC.md states the limits of the code, and contains every section that a comment cites.
func TestSpecificationMatchesCode(t *testing.T) {
	text, err := os.ReadFile("SPEC.md")
	require.NoError(t, err)
	page := strings.Join(strings.Fields(string(text)), " ")
	for sentence, right := range map[string]bool{
		"more than 262,144 bytes": envelope.MaxDocument == 262_144, "environment<0..64>": envelope.MaxEnvironment == 64,
		"url<0..1024>": envelope.MaxURL == 1024, "parameters<0..4096>": envelope.MaxParameters == 4096, "wrapped<0..4096>": envelope.MaxWrapped == 4096,
		"fewer than 100,000 or more than 10,000,000": envelope.MinIterations == 100_000 && envelope.MaxIterations == 10_000_000,
		"more than 20,000,000 together":              envelope.TotalIterations == 20_000_000, "exactly 60 for the others": envelope.WrappedSize == 60,
	} {
		require.Contains(t, page, sentence)
		require.True(t, right, sentence)
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	cited := 0
	for _, name := range files {
		code, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`SPEC\.md section (\d+)`).FindAllStringSubmatch(string(code), -1) {
			require.Contains(t, string(text), "\n## "+m[1]+". ", name)
			cited++
		}
	}
	require.Greater(t, cited, 3)
}
