package main_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/proctest"
)

// built runs scripts/build.sh in a directory and returns the binary's path.
func built(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coffer")
	cmd := proctest.Command(t, "scripts/build.sh", path)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VERSION=v0.0.0-test", "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

func TestReleaseBuildIsStaticAndReproducible(t *testing.T) {
	t.Parallel()
	first := built(t, "../..")
	file, err := elf.Open(first)
	require.NoError(t, err)
	defer file.Close()
	for _, program := range file.Progs {
		require.NotEqual(t, elf.PT_INTERP, program.Type, "it is static")
	}
	out, err := proctest.Command(t, first, "version", "--json").Output()
	require.NoError(t, err)
	var about struct {
		Version, Go, Platform string
		Static                bool
	}
	require.NoError(t, json.Unmarshal(out, &about))
	require.Equal(t, "v0.0.0-test", about.Version)
	require.True(t, about.Static)
	require.Regexp(t, `^go1\.`, about.Go)

	elsewhere := t.TempDir()
	copyTracked(t, elsewhere)
	require.Equal(t, digest(t, first), digest(t, built(t, elsewhere)))
}

// copyTracked copies what the binary is built from: git's files, changed or not, and the built demo.
func copyTracked(t *testing.T, to string) {
	t.Helper()
	list := proctest.Command(t, "git", "ls-files", "-co", "--exclude-standard", "cmd", "internal", "server", "shared", "scripts", "web/demo/*.go", "go.mod", "go.sum")
	list.Dir = "../.."
	out, err := list.Output()
	require.NoError(t, err)
	for _, name := range strings.Fields(string(out)) {
		source := filepath.Join("../..", name)
		info, err := os.Stat(source)
		if err != nil {
			continue // deleted, but the deletion is not committed
		}
		content, err := os.ReadFile(source)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(to, name), content, info.Mode()))
	}
	require.NoError(t, os.CopyFS(filepath.Join(to, "web/demo/dist"), os.DirFS("../../web/demo/dist")))
}

func digest(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return sha256.Sum256(content)
}
