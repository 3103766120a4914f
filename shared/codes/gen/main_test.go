package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/codes"
)

var root = filepath.Join("..", "..", "..")

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	require.NotEmpty(t, outputs)
	for path, generate := range outputs {
		t.Run(path, func(t *testing.T) {
			onDisk, err := os.ReadFile(filepath.Join(root, path))
			require.NoError(t, err)
			require.Equal(t, generate(codes.Table), string(onDisk), "run: go generate ./shared/codes")
		})
	}
}

func TestWriteCreatesEveryOutput(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, write(dir))
	for path, generate := range outputs {
		written, err := os.ReadFile(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, generate(codes.Table), string(written))
	}
}

func TestTypeScriptKeepsTableOrder(t *testing.T) {
	text := typeScript(codes.Table)
	listed := regexp.MustCompile(`(?m)^  '([a-z_]+)',$`).FindAllStringSubmatch(text, -1)
	members := regexp.MustCompile(`(?m)^  \| '([a-z_]+)';?$`).FindAllStringSubmatch(text, -1)
	require.Len(t, listed, len(codes.Core))
	require.Len(t, members, len(codes.Table))
	for i, row := range codes.Table {
		if i < len(codes.Core) {
			require.Equal(t, row.Code, listed[i][1], "the core returns a code as this position")
		}
		require.Equal(t, row.Code, members[i][1])
	}
}

// A meaning is written into a comment and a table cell, so it must not contain the characters that end them.
func TestMeaningsFitCommentsAndTableCells(t *testing.T) {
	for _, row := range codes.Table {
		require.NotContains(t, row.Meaning, "*/")
		require.NotContains(t, row.Meaning, "|")
		require.NotContains(t, row.Meaning, "\n")
		require.Regexp(t, `^[A-Z].*\.$`, row.Meaning, "a sentence")
	}
}
