//go:build !js

package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
)

// exports returns the names of the exported functions.
func exports(t *testing.T) (names []string) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, path := range files {
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`(?m)^//go:wasmexport (\w+)$`).FindAllStringSubmatch(string(source), -1) {
			names = append(names, match[1])
		}
	}
	require.NotEmpty(t, names)
	return names
}

// For any numbers and bytes, an export returns a length within the buffer, a handle or an error, and the core continues to
// work. Set COFFER_SEED to try other inputs.
func TestExportsSurviveHostileCalls(t *testing.T) {
	seed := os.Getenv("COFFER_SEED")
	if seed == "" {
		seed = "1"
	}
	calls := 200_000
	if testing.Short() {
		calls = 20_000
	}
	t.Logf("COFFER_SEED=%s", seed)
	var report struct {
		Calls  map[string]struct{ Succeeded, Failed int }
		Faults []string
		Memory int
	}
	node(t, "hostile.mjs", nil, &report, seed, strconv.Itoa(calls), strconv.Itoa(len(codes.Table)))
	require.Empty(t, report.Faults)
	require.Less(t, report.Memory, 256<<20, "closed sessions must be released")
	require.Len(t, report.Calls, len(exports(t)))
	neverFail := map[string]bool{"buffer": true, "bufferSize": true, "closeSession": true, "openSingle": true}
	for _, name := range exports(t) {
		counts, called := report.Calls[name]
		require.True(t, called, name)
		require.NotZero(t, counts.Succeeded, "%s never succeeded", name)
		require.Equal(t, neverFail[name], counts.Failed == 0, "%s refused %d", name, counts.Failed)
	}
}
