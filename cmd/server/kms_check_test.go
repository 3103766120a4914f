package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kms/kmstest"
)

func TestKMSCheckWrapsAndUnwraps(t *testing.T) {
	t.Parallel()
	for name, k := range kmss(t) {
		t.Run(name, func(t *testing.T) {
			environ := append(k.environ, "COFFER_ENVIRONMENT=prod")
			out := coffer(t, environ, "kms", "check")
			require.Regexp(t, `(?s)^KEK: `+k.provide+`\S+\nclasses: public, internal, confidential, pii, phi\nidentity: \S+\n(credentials: a token that expires at 20\S+Z unless a server renews it\n)?wrap: \S+s\nunwrap: \S+s\nit works\n$`, out)
			require.Equal(t, name == "vault", strings.Contains(out, "credentials: "))
			k.peer.Fail(kmstest.Denied, kmstest.Always)
			out = refused(t, environ, "", "kms", "check")
			require.Contains(t, out, "wrap: "+k.provide)
			require.Contains(t, out, "KMS authentication failed")
			require.Contains(t, out, ": check ")
			require.NotContains(t, out, k.secret)
			found := kmsCheckJSON(t, environ, 3)
			require.Equal(t, "kms_denied", found.Error.Code)
			require.Contains(t, found.Error.Message, ": check ")
			require.NotContains(t, found.Error.Message, k.secret)
			require.False(t, found.Works)
			require.Len(t, found.KEKs, 1)
			require.False(t, found.KEKs[0].Works)
			k.peer.Fail(kmstest.None, 0)
			require.True(t, kmsCheckJSON(t, environ, 0).Works)
			k.peer.Disable()
			require.Contains(t, refused(t, environ, "", "kms", "check"), "disabled or deleted")
		})
	}
}

// checked is the output of `coffer kms check --json`, also of a failed check.
type checked struct {
	Works bool
	KEKs  []struct {
		URL     string
		Classes []string
		Works   bool
	}
	Opened []string
	Error  struct{ Code, Message string }
}

// kmsCheckJSON runs coffer kms check --json, which must exit with the given code, and returns its output.
func kmsCheckJSON(t *testing.T, environ []string, code int, flags ...string) (found checked) {
	t.Helper()
	cmd := program(t, environ, append([]string{"kms", "check", "--json"}, flags...)...)
	out, _ := cmd.Output() // the exit code is checked below
	require.Equal(t, code, cmd.ProcessState.ExitCode(), string(out))
	require.NoError(t, json.Unmarshal(out, &found), string(out))
	return found
}

func TestFailuresAsJSONKeepTheTextOnStandardError(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for _, args := range []string{"token list", "keys list", "rotate --status", "audit verify"} {
		cmd := program(t, []string{"ENCRYPTION_MASTER_KEY=" + masterA}, append(strings.Fields(args), "--json", "--data", missing)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		require.Error(t, err, args)
		var got map[string]struct {
			Message string
			Exit    int
		}
		require.NoError(t, json.Unmarshal(out, &got), "%s: %s", args, out)
		require.Equal(t, strings.TrimSpace(strings.TrimPrefix(said.String(), "coffer: ")), got["error"].Message, args)
		require.Equal(t, 4, got["error"].Exit)
		require.Contains(t, said.String(), "there is no data directory")
	}
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
	out, err := program(t, environ, "keys", "list", "--json", "--data", data, "--tenant", "ghost").Output()
	require.Error(t, err)
	require.Contains(t, string(out), `"code": "not_found"`)
	out, err = program(t, nil, "audit", "tail", "--json", "--data", missing).Output()
	require.Error(t, err)
	require.Regexp(t, `^\{"error":\{"message":"there is no data directory .*","exit":4\}\}\n$`, string(out), "it prints one value a line")
	out, err = program(t, environ, "token", "list", "--data", missing).Output()
	require.Error(t, err)
	require.Empty(t, string(out))
	require.Contains(t, kmsCheckJSON(t, []string{"KMS_PROVIDER=x"}, 2).Error.Message, "KMS_PROVIDER must be")
	found := kmsCheckJSON(t, append(environ, "COFFER_ENVIRONMENT=prod"), 3)
	require.Contains(t, found.Error.Message, "set KMS_PROVIDER")
	require.True(t, found.KEKs[0].Works)
	require.False(t, found.Works)
}

// It creates no key, names the classes of each key, and reports that production refuses local keys.
func TestKMSCheckOfLocalKeys(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	require.Contains(t, refused(t, nil, "", "kms", "check", "--data", data), "no KEK is configured")
	require.NoFileExists(t, filepath.Join(data, "master.key"))
	entries, err := os.ReadDir(data)
	require.NoError(t, err)
	require.Empty(t, entries)
	local := []string{"GENERAL_ENCRYPTION_KEY=" + masterA, "PHI_ENCRYPTION_KEY=" + masterB}
	out := coffer(t, local, "kms", "check")
	require.Contains(t, out, "classes: public, internal, confidential, pii\nwrap")
	require.Contains(t, out, "classes: phi\nwrap")
	require.Contains(t, refused(t, append(local, "COFFER_ENVIRONMENT=prod"), "", "kms", "check"), "set KMS_PROVIDER")
}

// It fails if a server would not start. It creates nothing.
func TestKMSCheckOpensExistingKeys(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	check := []string{"kms", "check", "--data", data}
	tokenFor(t, environ, data, "clinic")
	require.Regexp(t, `it works\nopened: the key of the audit log\n$`, coffer(t, environ, check...))
	require.Contains(t, refused(t, []string{"ENCRYPTION_MASTER_KEY=" + masterB}, "", check...), "is not the key that the keys in")
	require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
	require.Regexp(t, `it works\nopened: the keys of a tenant\nopened: the key of the audit log\n$`, coffer(t, environ, check...))
	found := kmsCheckJSON(t, environ, 0, "--data", data)
	require.True(t, found.Works)
	require.Empty(t, found.Error)
	require.Len(t, found.KEKs, 1)
	require.True(t, found.KEKs[0].Works)
	require.Len(t, found.KEKs[0].Classes, 5)
	require.Len(t, found.Opened, 2)

	require.Contains(t, refused(t, []string{"ENCRYPTION_MASTER_KEY=" + masterB}, "", check...), "ENCRYPTION_MASTER_KEY is not the key")
	require.Contains(t, refused(t, append(environ, "COFFER_ENVIRONMENT=staging"), "", check...), `belong to environment "dev"`)
	require.NoError(t, os.Rename(filepath.Join(data, "keys"), filepath.Join(data, "elsewhere")))
	require.Contains(t, refused(t, environ, "", check...), "are missing from")
	require.NoDirExists(t, filepath.Join(data, "keys"))
}

func TestClassNeedsItsOwnMasterKey(t *testing.T) {
	t.Parallel()
	data, local := t.TempDir(), []string{"GENERAL_ENCRYPTION_KEY=" + masterA, "PHI_ENCRYPTION_KEY=" + masterB}
	p := serve(t, data, local...)
	p.put(p.token, "patient", record)
	p.kill()
	again := serve(t, data, local...)
	again.requireValue(p.token, "patient", record)
	again.kill()
	said := fails(t, program(t, local[:1], "serve", "--data", data, "--listen", "127.0.0.1:0"))
	require.Contains(t, said, "a KEK that is not configured")
}

// A configuration and flags of commands can name a key in Vault.
func TestVaultTokenIsNotSentInTheClear(t *testing.T) {
	t.Parallel()
	environ := []string{"VAULT_ADDR=http://vault.example.test:8200", "VAULT_TOKEN=PLANTED"}
	for _, said := range []string{
		refused(t, append(environ, "COFFER_KEK=hashivault://k", "COFFER_ENVIRONMENT=prod"), "", "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"),
		refused(t, append(environ, "COFFER_KEK=hashivault://k"), "", "kms", "check"),
		refused(t, append(environ, "KMS_PROVIDER=vault"), "", "kms", "check"),
		refused(t, append(environ, "ENCRYPTION_MASTER_KEY="+masterA), "", "keys", "rewrap", "--data", t.TempDir(), "--to", "hashivault://k"),
	} {
		require.Contains(t, said, "VAULT_ADDR must be the URL of the server, with https://")
		require.NotContains(t, said, "PLANTED")
	}
}

func TestRewrapRefusesSDKVariablesInDotenv(t *testing.T) {
	t.Parallel()
	data, environ := t.TempDir(), []string{"ENCRYPTION_MASTER_KEY=" + masterA}
	require.Zero(t, serve(t, data, environ...).stop(syscall.SIGTERM))
	cmd := program(t, environ, "keys", "rewrap", "--data", data, "--to", "hashivault://k", "--dry-run")
	require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, ".env"), []byte("VAULT_ADDR=https://vault.example.test\nVAULT_TOKEN=t\nVAULT_CACERT=/ca\nAWS_PROFILE=x\n"), 0o600))
	require.Contains(t, fails(t, cmd), "--to: VAULT_CACERT is taken from the environment alone, and does nothing in .env")
}
