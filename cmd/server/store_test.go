package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/durable/sqlitefile"
)

// run runs a command to its end, and returns its exit code and output.
func run(t *testing.T, args ...string) (code int, out, stderr string) {
	t.Helper()
	cmd := program(t, nil, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	_ = cmd.Run() // the caller checks the code
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// Both refuse to run beside a server.
func TestStoreCheckAndRepair(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	for _, key := range []string{"a", "b", "c"} {
		p.put(p.token, key, record)
	}
	for _, command := range []string{"check", "repair"} {
		code, _, stderr := run(t, "store", command, "--data", data)
		require.Equal(t, 3, code, stderr)
		require.Contains(t, stderr, "a server, or another command, uses "+data)
	}
	require.Zero(t, p.stop(syscall.SIGTERM), p.log)
	code, out, stderr := run(t, "store", "check", "--data", data)
	require.Zero(t, code, stderr)
	require.Contains(t, out, "cache.db: whole")
	require.Contains(t, out, "keys.db: whole")

	var keys string
	require.NoError(t, filepath.WalkDir(data, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == "keys.db" {
			keys = path
		}
		return err
	}))
	flipEachPage(t, keys)
	code, out, stderr = run(t, "store", "check", "--data", data, "--json")
	require.Equal(t, 1, code, stderr)
	var checked struct {
		Files []struct {
			File   string
			Damage []string
			Read   int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &checked))
	require.Len(t, checked.Files, 2)
	require.Empty(t, checked.Files[0].Damage)
	require.NotEmpty(t, checked.Files[1].Damage)
	code, out, stderr = run(t, "store", "repair", "--data", data)
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "coffer keys restore")
	require.Contains(t, out, "the former file:")
	code, out, _ = run(t, "store", "check", "--data", data)
	require.Zero(t, code, out)

	code, _, _ = run(t, "store", "check", "--data", filepath.Join(data, "none"))
	require.Equal(t, 4, code)
}

// Its read fails, /readyz, the log and a check report it, and other entries can be read.
func TestMissingPartOfAnEntryIsDamage(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := serve(t, data)
	token := p.token
	p.put(token, "large", strings.Repeat("v", 300_000))
	p.put(token, "small", record)
	require.Zero(t, p.stop(syscall.SIGTERM), p.log)
	db, err := sqlitefile.Open(t.Context(), filepath.Join(data, "cache", "cache.db"), sqlitefile.Schema{Version: 3})
	require.NoError(t, err)
	require.NoError(t, db.Run("DELETE FROM parts WHERE id = (SELECT min(id) + 1 FROM parts)"))
	require.EqualValues(t, 1, db.Changes())
	require.NoError(t, db.Close())
	code, out, _ := run(t, "store", "check", "--data", data)
	require.Equal(t, 1, code)
	require.Contains(t, out, "a part of a value is missing")

	p = serve(t, data)
	p.token = token
	status, said := p.accepted(token, "GET", "/v1/cache/large", "")
	require.Equal(t, http.StatusServiceUnavailable, status, said)
	require.Contains(t, said, "store_unavailable")
	soon(t, func() bool {
		_, said := p.do("", "GET", "/readyz", "")
		return strings.Contains(said, `"degraded":["store_unavailable"]`)
	})
	p.requireValue(token, "small", record)
	require.Equal(t, 1, strings.Count(p.log.String(), "the embedded store is damaged: run coffer store check"), p.log)
}

// flipEachPage damages all pages of a database except the first.
func flipEachPage(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	const page = 4096
	require.Greater(t, len(content), 2*page)
	for at := page + 100; at < len(content); at += page {
		content[at] ^= 1
	}
	require.NoError(t, os.WriteFile(path, content, 0o600))
}
