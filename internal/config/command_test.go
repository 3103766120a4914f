package config_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// script makes a program.
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

func TestMasterKeyCommand(t *testing.T) {
	c, warnings, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script(t, `[ "$#" = 2 ] && [ "$1 $2" = "read --raw" ] && echo `+master) + "  read --raw "})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Empty(t, c.MasterKey)
	require.True(t, c.HasMasterKey())
	require.True(t, c.Local())
	key, err := c.ReadMasterKey(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, master, key)

	c, _, err = load(t, []string{"ENCRYPTION_MASTER_KEY=" + master})
	require.NoError(t, err)
	key, err = c.ReadMasterKey(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, master, key)
	c, _, err = load(t, nil)
	require.NoError(t, err)
	require.False(t, c.HasMasterKey())
}

// A command that fails is named by its variable. Nothing that it printed is in the error.
func TestMasterKeyCommandFails(t *testing.T) {
	for _, row := range []struct{ name, program, says string }{
		{"status", "echo " + planted + "; echo " + planted + " >&2; exit 3", "it failed (exit status 3)"},
		{"killed", "echo " + planted + "; kill -9 $$", "it failed (signal: killed)"},
		{"nothing", "echo", "it printed nothing"},
		{"short", "echo short", "what it printed is too short"},
		{"NUL", `printf 'a passphrase\0'`, "NUL"},
		{"not UTF-8", `printf '\377\377\377\377\377\377\377\377\377'`, "is not valid UTF-8"},
		{"endless", "while :; do echo " + strings.Repeat(planted, 100) + "; done", "it printed more than 64 KiB"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script(t, row.program)})
			require.NoError(t, err)
			key, err := c.ReadMasterKey(t.Context())
			require.ErrorContains(t, err, "COFFER_MASTER_KEY_COMMAND: ")
			require.ErrorContains(t, err, row.says)
			require.NotContains(t, err.Error(), planted)
			require.Empty(t, key)
		})
	}
	for _, missing := range []string{"/nowhere/" + planted, planted} {
		c, _, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + missing})
		require.NoError(t, err)
		_, err = c.ReadMasterKey(t.Context())
		require.ErrorContains(t, err, "the program cannot be run")
		require.NotContains(t, err.Error(), planted)
	}
	c, _, err := load(t, []string{"COFFER_MASTER_KEY_COMMAND=" + script(t, "sleep 600")})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.ReadMasterKey(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestMasterKeyCommandIsRefused(t *testing.T) {
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
