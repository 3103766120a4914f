package config_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
)

// script writes a program and returns its path.
func script(t *testing.T, content string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("programs of tests are shell scripts")
	}
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+content), 0o700))
	return path
}

const master = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestMasterKeyCommandPrintsTheKey(t *testing.T) {
	c, warnings, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script(t, `[ "$#" = 2 ] && [ "$1 $2" = "read --raw" ] && echo `+master) + "  read --raw "})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Empty(t, c.MasterKey.Key)
	require.True(t, c.MasterKey.Configured())
	require.False(t, c.MasterKey.IsPassphrase())
	require.True(t, c.Local())
	key, err := c.MasterKey.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, config.MasterKey{Key: masterBytes()}, key)

	c, _, err = load(t, []string{"COFFER_PASSPHRASE_COMMAND=" + script(t, "echo "+master)})
	require.NoError(t, err)
	require.True(t, c.MasterKey.IsPassphrase())
	key, err = c.MasterKey.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, config.MasterKey{Passphrase: master}, key, "a passphrase is never taken for a key")

	c, _, err = load(t, nil)
	require.NoError(t, err)
	require.False(t, c.MasterKey.Configured())
}

func masterBytes() config.Secret {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	return config.Secret(key)
}

func TestMasterKeyIsAKeyOrAPassphrase(t *testing.T) {
	key, passphrase := config.MasterKey{Key: masterBytes()}, config.MasterKey{Passphrase: "a passphrase"}
	for environ, want := range map[string]config.MasterKey{
		"ENCRYPTION_MASTER_KEY=" + master:                                                       key,
		"GENERAL_ENCRYPTION_KEY=" + master:                                                      key,
		"GENERAL_ENCRYPTION_KEY=" + master + ",ENCRYPTION_MASTER_KEY=" + master:                 key,
		"ENCRYPTION_PASSPHRASE=a passphrase":                                                    passphrase,
		"GENERAL_ENCRYPTION_PASSPHRASE=a passphrase":                                            passphrase,
		"ENCRYPTION_PASSPHRASE=a passphrase,GENERAL_ENCRYPTION_PASSPHRASE=a passphrase":         passphrase,
		"ENCRYPTION_PASSPHRASE=" + master:                                                       {Passphrase: master},
		"PHI_ENCRYPTION_KEY=" + master + ",PII_ENCRYPTION_PASSPHRASE=the passphrase of a class": {},
	} {
		t.Run(environ, func(t *testing.T) {
			c, _, err := load(t, strings.Split(environ, ","))
			require.NoError(t, err)
			require.Equal(t, want, c.MasterKey)
		})
	}
}

func TestMasterKeyRefusesAPassphrase(t *testing.T) {
	for _, text := range []string{planted + " of several words", master[:43], master + "=", master + "AAAA", master[:40] + "\n" + master[40:], strings.ReplaceAll(master, "h8=", "h9=")} {
		for variable, instead := range map[string]string{
			"ENCRYPTION_MASTER_KEY": "ENCRYPTION_PASSPHRASE", "GENERAL_ENCRYPTION_KEY": "GENERAL_ENCRYPTION_PASSPHRASE",
			"PII_ENCRYPTION_KEY": "PII_ENCRYPTION_PASSPHRASE", "PHI_ENCRYPTION_KEY": "PHI_ENCRYPTION_PASSPHRASE",
		} {
			_, _, err := load(t, []string{variable + "=" + text})
			require.EqualError(t, err, "the configuration is not valid:\n  - "+variable+
				" must be 32 random bytes in base64 (openssl rand -base64 32); for a passphrase, set "+instead)
		}
	}
}

func TestMasterKeyRefusesAKeyBesideAPassphrase(t *testing.T) {
	for environ, says := range map[string]string{
		"ENCRYPTION_MASTER_KEY=" + master + ",ENCRYPTION_PASSPHRASE=" + master:                    "ENCRYPTION_PASSPHRASE and ENCRYPTION_MASTER_KEY are both set",
		"ENCRYPTION_PASSPHRASE=" + planted + "xx,GENERAL_ENCRYPTION_PASSPHRASE=" + planted + "yy": "GENERAL_ENCRYPTION_PASSPHRASE and ENCRYPTION_PASSPHRASE are both set",
		"COFFER_MASTER_KEY_COMMAND=/bin/true,COFFER_PASSPHRASE_COMMAND=/bin/true":                 "COFFER_PASSPHRASE_COMMAND and COFFER_MASTER_KEY_COMMAND are both set",
		"PHI_ENCRYPTION_KEY=" + master + ",PHI_ENCRYPTION_PASSPHRASE=" + master:                   "PHI_ENCRYPTION_PASSPHRASE and PHI_ENCRYPTION_KEY are both set",
	} {
		t.Run(says, func(t *testing.T) {
			_, _, err := load(t, strings.Split(environ, ","))
			require.EqualError(t, err, "the configuration is not valid:\n  - "+says+": unset one of them")
		})
	}
}

// The error must not quote the output.
func TestMasterKeyCommandFailureNamesTheVariable(t *testing.T) {
	for _, row := range []struct{ name, program, says string }{
		{"status", "echo " + planted + "; echo " + planted + " >&2; exit 3", "it failed (exit status 3)"},
		{"killed", "echo " + planted + "; kill -9 $$", "it failed (signal: killed)"},
		{"nothing", "echo", "it printed nothing"},
		{"passphrase", "echo a passphrase", "its output must be 32 random bytes in base64 (openssl rand -base64 32); for a passphrase, set COFFER_PASSPHRASE_COMMAND"},
		{"endless", "while :; do echo " + strings.Repeat(planted, 100) + "; done", "it printed more than 64 KiB"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script(t, row.program)})
			require.NoError(t, err)
			key, err := c.MasterKey.Read(t.Context())
			require.ErrorContains(t, err, "COFFER_MASTER_KEY_COMMAND: ")
			require.ErrorContains(t, err, row.says)
			require.NotContains(t, err.Error(), planted)
			require.Empty(t, key)
		})
	}
	for _, missing := range []string{"/nowhere/" + planted, planted} {
		c, _, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + missing})
		require.NoError(t, err)
		_, err = c.MasterKey.Read(t.Context())
		require.ErrorContains(t, err, "the program cannot be run")
		require.NotContains(t, err.Error(), planted)
	}
	for program, says := range map[string]string{
		"echo short": "must have at least 8 characters", `printf 'a passphrase\0'`: "must not contain a NUL character",
		`printf '\377\377\377\377\377\377\377\377\377'`: "must be valid UTF-8",
	} {
		c, _, err := load(t, []string{"COFFER_PASSPHRASE_COMMAND=" + script(t, program)})
		require.NoError(t, err)
		_, err = c.MasterKey.Read(t.Context())
		require.EqualError(t, err, "COFFER_PASSPHRASE_COMMAND: its output "+says)
	}
	c, _, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script(t, "sleep 600")})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.MasterKey.Read(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestLoadRefusesAMasterKeyCommand(t *testing.T) {
	command := "COFFER_MASTER_KEY_COMMAND=/bin/" + planted
	for _, row := range []struct {
		name    string
		environ []string
		says    string
	}{
		{"quotes", []string{command + " 'a b'"}, "run without a shell"},
		{"a pipe", []string{command + " | head"}, "run without a shell"},
		{"a variable", []string{command + " $HOME"}, "run without a shell"},
		{"beside a key", []string{command, "ENCRYPTION_MASTER_KEY=" + master}, "and ENCRYPTION_MASTER_KEY are both set"},
		{"beside its other name", []string{command, "GENERAL_ENCRYPTION_KEY=" + master}, "and GENERAL_ENCRYPTION_KEY are both set"},
		{"beside a KEK", []string{command, "COFFER_KEK=base64key://" + master}, "COFFER_KEK"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := load(t, row.environ)
			require.ErrorContains(t, err, "COFFER_MASTER_KEY_COMMAND ")
			require.ErrorContains(t, err, row.says)
			require.NotContains(t, err.Error(), planted)
		})
	}
	inDirectory(t, command+"\n", 0o600)
	_, _, err := load(t, nil)
	require.ErrorContains(t, err, "cannot be set in .env")
}
