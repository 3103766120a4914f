package main_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// No message names a package or has a raw error of a dependency.
func TestExitCodesOfFailures(t *testing.T) {
	t.Parallel()
	data, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	key := "ENCRYPTION_MASTER_KEY=" + masterA
	require.Zero(t, serve(t, data, key).stop(syscall.SIGTERM))
	coffer(t, []string{key}, "keys", "backup", "--data", data, "--out", backup)
	away := redistest.Start(t)
	away.Stop()
	notReady := strings.TrimPrefix(serve(t, t.TempDir(), key, "REDIS_URL=redis://"+away.Addr).url, "http://")
	unreachable := "redis://127.0.0.1:1"
	for _, c := range []struct {
		code    int
		environ string
		args    string
	}{
		{1, "", "health --listen ANSWERS"},
		{1, key, "serve --data DATA --listen 192.0.2.1:0"},
		{1, key, "keys drill --data DATA --in DATA"},
		{4, key, "keys backup --data DATA --out EMPTY/nowhere/backup"},
		{2, "", "token revoke"},
		{2, "", "tokn"},
		{2, "", "token create --nonsense"},
		{2, "", "config COFFER_RATE=x"},
		{2, "COFFER_RATE=x", "config"},
		{2, "", "audit tail --data DATA -n -1"},
		{2, "", "audit tail --data DATA --since yesterday"},
		{2, "", "keys restore --data DATA"},
		{2, "", "keys list --data EMPTY"},
		{2, "", "kms check --data EMPTY"},
		{2, key, "rotate --data DATA"},
		{2, key, "rotate --data DATA --execute --class secret"},
		{2, key, "keys rewrap --data DATA --to base64key://AAAA"},
		{3, "ENCRYPTION_MASTER_KEY=" + masterB, "keys list --data DATA"},
		{3, "ENCRYPTION_MASTER_KEY=" + masterB, "audit verify --data DATA"},
		{3, key + " COFFER_ENVIRONMENT=live", "serve --data DATA --listen 127.0.0.1:0"},
		{3, key + " COFFER_ENVIRONMENT=prd", "kms check --data DATA"},
		{3, key, "keys shred --data DATA --tenant default --confirm other"},
		{3, key, "audit begin --data DATA"},
		{3, key, "keys drill --data DATA --in DATA/log.made"},
		{4, key, "keys list --data DATA/nowhere"},
		{4, key, "token revoke --data DATA 0123456789abcdef"},
		{4, key, "keys list --data DATA --tenant nobody"},
		{4, key, "keys drill --data DATA --in DATA/nowhere"},
		{4, key, "audit verify --data EMPTY"},
		{5, "", "health --listen 127.0.0.1:1"},
		{5, key + " REDIS_URL=" + unreachable + " COFFER_KEYS_REDIS_URL=" + unreachable, "keys list --data DATA"},
		{5, "KMS_PROVIDER=vault VAULT_ADDR=http://127.0.0.1:1 VAULT_TOKEN=x", "kms check --data DATA"},
	} {
		t.Run(c.args+" "+c.environ, func(t *testing.T) {
			empty := t.TempDir()
			args := strings.Fields(strings.NewReplacer("DATA", data, "EMPTY", empty, "ANSWERS", notReady).Replace(c.args))
			cmd := program(t, strings.Fields(c.environ), args...)
			var out, said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &said
			require.Error(t, cmd.Run(), out.String())
			require.Equal(t, c.code, cmd.ProcessState.ExitCode(), said.String())
			last := said.String()[strings.LastIndex(said.String(), "coffer: ")+len("coffer: "):]
			require.NotRegexp(t, `(^|: )(keystore|keyring|envelope|rediskv|sqlitekeys|audit|kms|seal|token|kv|redis|coffer): `, last)
			require.NotRegexp(t, `dial tcp|connection refused|no such file|syscall|sql:|SQLITE|EOF|\.go:\d+`, said.String())
			if args[0] == "serve" || c.code == 2 && (args[0] == "tokn" || strings.Contains(c.args, "nonsense") || c.args == "token revoke") {
				return
			}
			failed := program(t, strings.Fields(c.environ), append(args, "--json")...)
			printed, err := failed.Output()
			require.Error(t, err)
			require.Equal(t, c.code, failed.ProcessState.ExitCode())
			if args[0] == "audit" && args[1] == "tail" || len(printed) == 0 {
				return
			}
			var result struct{ Error struct{ Message string } }
			require.NoError(t, json.Unmarshal(printed, &result), string(printed))
			require.NotEmpty(t, result.Error.Message)
		})
	}
}

// The flag may be anywhere on a command line that is not valid.
func TestCommandsPrintFailuresAsJSON(t *testing.T) {
	t.Parallel()
	commands := []string{
		"audit tail", "audit verify", "config", "doctor", "keys backup", "keys drill", "keys list", "keys restore", "keys rewrap", "keys shred",
		"kms check", "rotate", "store check", "store repair", "token create", "token list", "token revoke", "version",
	}
	for _, command := range commands {
		for _, flags := range []string{"--json --no-such-flag", "--no-such-flag --json"} {
			requireFailure(t, 2, strings.Fields(command+" "+flags)...)
		}
	}
	requireFailure(t, 4, "audit", "tail", "--json", "--data", filepath.Join(t.TempDir(), "nowhere"))
	requireFailure(t, 2, "audit", "tail", "--json", "--data", t.TempDir(), "--since", "never")
}

func requireFailure(t *testing.T, code int, args ...string) {
	t.Helper()
	cmd := program(t, nil, args...)
	out, err := cmd.Output()
	require.Error(t, err, args)
	var report struct {
		Error struct {
			Message string
			Exit    int
		}
	}
	require.NoError(t, json.Unmarshal(out, &report), "%v: %s", args, out)
	require.NotEmpty(t, report.Error.Message, args)
	require.Equal(t, code, report.Error.Exit, args)
	require.Equal(t, code, cmd.ProcessState.ExitCode(), args)
}
