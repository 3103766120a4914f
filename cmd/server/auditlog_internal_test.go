package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// It does replace a lock and temporary files of a killed process.
func TestMoveAuditLogReplacesNoOtherLog(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		fails bool
	}{
		"nothing": {nil, false}, "a lock": {[]string{"lock"}, false}, "what a kill left": {[]string{"lock", ".writing-1"}, false},
		"a log": {[]string{"lock", "chains"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit")
			made := path + ".new"
			require.NoError(t, os.Mkdir(made, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(made, "chains"), []byte("made"), 0o600))
			for _, file := range c.files {
				require.NoError(t, os.MkdirAll(path, 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(path, file), []byte("before"), 0o600))
			}
			err := moveAuditLog(made, path)
			require.Equal(t, c.fails, err != nil, "%v", err)
			content, err := os.ReadFile(filepath.Join(path, "chains"))
			require.NoError(t, err)
			require.Equal(t, c.fails, string(content) == "before")
		})
	}
}
