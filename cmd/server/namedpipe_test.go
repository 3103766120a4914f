package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A pipe replaces each file of the data directory in turn.
func TestNamedPipesBlockNoCommand(t *testing.T) {
	t.Parallel()
	for name, refused := range map[string]string{
		"master.key": "not a regular file", "audit/chains": "not a regular file", "audit/1/head": "not a regular file",
		"audit/1/00000000000000000001.log": "not a regular file", "audit/1/00000000000000000002.log": "not a regular file",
		"keys/keys.db": "cannot be read", "keys.made": "", "log.made": "", "audit/reserve": "", "cache/reserve": "", // their content is not read
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			require.Zero(t, serve(t, data).stop(syscall.SIGTERM))
			path := filepath.Join(data, name)
			require.NoError(t, os.RemoveAll(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
			for _, args := range [][]string{{"token", "list"}, {"keys", "list"}, {"audit", "verify"}, {"serve", "--listen", "127.0.0.1:0"}} {
				cmd := program(t, nil, append(args, "--data", data)...)
				var log bytes.Buffer
				cmd.Stderr = &log
				out, err := cmd.StdoutPipe()
				require.NoError(t, err)
				require.NoError(t, cmd.Start())
				_, _ = out.Read(make([]byte, 1)) // waits for the first output or the end of the process
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
				if args[0] == "serve" {
					require.Contains(t, log.String(), refused)
				}
			}
		})
	}
}
