package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/format/vectors"
)

// The files in the repository are the output of the generator, so a vector changes only if the generator changes.
func TestGenerated(t *testing.T) {
	for name, text := range generate() {
		committed, err := vectors.File(name)
		require.NoError(t, err)
		require.True(t, string(committed) == string(text), "%s differs: run go generate ./shared/format/vectors", name)
		require.Less(t, len(text), 760<<10, name)
	}
}
