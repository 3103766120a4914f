package main_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The error names the environment that has keysets.
func TestCommandsRefuseAnEnvironmentWithoutKeysets(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=false"}
	path := filepath.Join(t.TempDir(), "backup")
	p := serve(t, data, environ...)
	token := p.token
	p.put(token, "patient-1", record)
	coffer(t, environ, "keys", "backup", "--data", data, "--out", path)
	to := keyFile(t, masterB)
	coffer(t, environ, "keys", "rewrap", "--data", data, "--to", to)

	for _, environ := range [][]string{environ[:1], {environ[0], "COFFER_ENVIRONMENT=stage"}} {
		for _, args := range [][]string{
			{"keys", "backup", "--out", filepath.Join(t.TempDir(), "another")}, {"keys", "list"},
			{"rotate", "--execute", "--compromised"}, {"rotate", "--execute"}, {"rotate", "--dry-run"}, {"rotate", "--status"},
			{"keys", "rewrap", "--to", to}, {"keys", "rewrap", "--to", to, "--finish"}, {"keys", "rewrap", "--status"},
			{"keys", "shred", "--tenant", "default", "--confirm", "default"},
		} {
			said := refused(t, environ, "", append(args, "--data", data)...)
			require.Contains(t, said, `belong to environment "staging"`, args)
			require.Contains(t, said, "COFFER_ENVIRONMENT", args)
		}
		require.Contains(t, refused(t, environ, "", "keys", "drill", "--in", path, "--data", data), "COFFER_ENVIRONMENT")
	}
	require.Zero(t, p.stop(syscall.SIGTERM))
	serve(t, data, environ...).requireValue(token, "patient-1", record)
}
