package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConfigPrintsValuesAndSources(t *testing.T) {
	t.Parallel()
	const planted = "pl4nted-secret"
	out, err := program(t, []string{"ENCRYPTION_PASSPHRASE=" + planted, "COFFER_ENVIRONMENT=staging", "COFFER_PRODUCTION=false"}, "config", "--rate", "5").Output()
	require.NoError(t, err)
	require.Regexp(t, `(?m)^SETTING +VALUE +FROM$`, string(out))
	require.Regexp(t, `(?m)^COFFER_ENVIRONMENT +staging +environment$`, string(out))
	require.Regexp(t, `(?m)^COFFER_RATE +5 +--rate$`, string(out))
	require.Regexp(t, `(?m)^without a value: .*, REDIS_URL, `, string(out))
	require.NotRegexp(t, `(?m)^REDIS_URL`, string(out))
	require.Regexp(t, `(?m)^ENCRYPTION_PASSPHRASE +\[secret\] +environment$`, string(out))
	require.NotContains(t, string(out), planted)
	said := fails(t, program(t, []string{"COFFER_CORS_ORIGINS=" + planted, "COFFER_RATE=x"}, "config"))
	require.Contains(t, said, "COFFER_CORS_ORIGINS must")
	require.Contains(t, said, "COFFER_RATE must")
	require.NotContains(t, said, planted)
}

func TestCommandsReadDotenvInDevelopment(t *testing.T) {
	t.Parallel()
	cmd := program(t, nil, "config")
	require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, ".env"), []byte("REDIS_URL='redis://:pl4nted@h'\nCOFFER_RATE=5\n"), 0o644))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Regexp(t, `(?m)^COFFER_RATE +5 +\.env$`, string(out))
	require.Regexp(t, `(?m)^REDIS_URL +\[secret\] +\.env$`, string(out))
	require.Contains(t, stderr.String(), "warning: .env can be read by others")
	require.NotContains(t, string(out)+stderr.String(), "pl4nted")
}

// They are also the defaults.
func TestConfiguredTTLsLimitEntriesAndSessions(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "COFFER_TTL_PHI=10m", "COFFER_TTL_PUBLIC=20m", "COFFER_TTL_CONFIDENTIAL=30m")
	for path, status := range map[string]int{
		"/v1/cache/a?class=phi&ttl=10m": 204, "/v1/cache/a?class=phi&ttl=11m": 400, "/v1/cache/b?class=public&ttl=21m": 400,
		"/v1/cache/c?class=confidential": 204, "/v1/cache/d?class=pii&ttl=168h": 204,
	} {
		t.Run(path, func(t *testing.T) {
			got, body := p.do(p.token, "PUT", path, record)
			require.Equal(t, status, got, path+body)
		})
	}
	got, body := p.do(p.token, "POST", "/v1/sessions", `{"data":{}}`)
	require.Equal(t, 201, got, body)
	var made struct{ CreatedAt, ExpiresAt time.Time }
	require.NoError(t, json.Unmarshal([]byte(body), &made))
	require.WithinDuration(t, made.CreatedAt.Add(30*time.Minute), made.ExpiresAt, time.Minute)
	got, _ = p.do(p.token, "POST", "/v1/sessions", `{"data":{},"ttl":"31m"}`)
	require.Equal(t, 400, got)
}

func TestVersionAndCompletionPrint(t *testing.T) {
	t.Parallel()
	out, err := program(t, nil, "version").Output()
	require.NoError(t, err)
	require.Regexp(t, `^coffer \S+\ngo1\S+ \w+/\w+\n`, string(out))
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		t.Run(shell, func(t *testing.T) {
			out, err := program(t, nil, "completion", shell).Output()
			require.NoError(t, err)
			require.Contains(t, string(out), "coffer")
		})
	}
}

func TestEveryCommandHasHelpAndAnExample(t *testing.T) {
	t.Parallel()
	out, err := program(t, nil, "--help").Output()
	require.NoError(t, err)
	for _, text := range []string{"The server:", "Administration:", "About coffer:", "coffer serve --help", "coffer serve --data"} {
		require.Contains(t, string(out), text)
	}
	require.NotContains(t, string(out), "Additional Commands")
	require.Contains(t, string(out), "Usage:\n  coffer [command]\n", "a group is no command by itself")
	for _, command := range []string{"serve", "health", "config", "version", "token create", "token revoke"} {
		t.Run(command, func(t *testing.T) {
			out, err := program(t, nil, append(strings.Fields(command), "--help")...).Output()
			require.NoError(t, err)
			require.Contains(t, string(out), "Examples:\n  ", command)
		})
	}
	out, err = program(t, nil, "serve", "--help").Output()
	require.NoError(t, err)
	require.Regexp(t, `--rate string .*; environment COFFER_RATE`, string(out))
	require.Contains(t, string(out), "ENCRYPTION_MASTER_KEY_FILE")
}

func TestManPagesAreCompleteAndReproducible(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man")
	require.NoError(t, program(t, nil, "man", "--dir", dir).Run())
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	require.NoError(t, err)
	require.Subset(t, names(pages), []string{"coffer.1", "coffer-serve.1", "coffer-health.1", "coffer-token-create.1", "coffer-completion-bash.1"})
	require.NotContains(t, names(pages), "coffer-man.1")
	page, err := os.ReadFile(filepath.Join(dir, "coffer-serve.1"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^\.TH "COFFER-SERVE" "1"`, string(page))
	require.Contains(t, string(page), "COFFER_SHUTDOWN_DELAY")
	require.NotContains(t, string(page), "Auto generated")
}

func names(paths []string) (out []string) {
	for _, path := range paths {
		out = append(out, filepath.Base(path))
	}
	return out
}

// The error does not quote the setting.
func TestServerRefusesABadIdentityProvider(t *testing.T) {
	t.Parallel()
	said := fails(t, program(t, []string{"COFFER_OIDC_ISSUER=ftp://pl4nted", "COFFER_OIDC_AUDIENCE=a"}, "serve", "--data", t.TempDir()))
	require.Contains(t, said, "COFFER_OIDC_")
	require.NotContains(t, said, "pl4nted")
}

// The error does not quote the argument, which may be a token.
func TestUnknownCommandsFail(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"audit verfy": "coffer audit verify?", "keys dril": "coffer keys drill?", "kms chek": "coffer kms check?", "token lst": "coffer token list?", "serv": "coffer serve?",
		"completion bas": "coffer completion bash?", "coffer_PLANTED": "see coffer --help", "token coffer_PLANTED": "see coffer token --help", "keys backup PLANTED": "no arguments",
	} {
		t.Run(says, func(t *testing.T) {
			out := refused(t, nil, "", strings.Fields(args)...)
			require.Contains(t, out, says, args)
			require.NotContains(t, out, "PLANTED")
			require.Equal(t, 1, strings.Count(out, "\n"), out)
		})
	}
	for _, group := range []string{"", "audit", "keys", "kms", "token"} {
		require.Contains(t, coffer(t, nil, strings.Fields(group)...), "Usage:\n")
	}
}

func TestCommandsFailIfTheirOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full")
	}
	defer full.Close()
	data := t.TempDir()
	environ := []string{"ENCRYPTION_MASTER_KEY=" + masterA, "COFFER_DATA=" + data}
	tokenFor(t, environ, data, "clinic")
	for _, args := range []string{
		"kms check", "kms check --json", "token list", "token list --json", "token create", "config", "version", "--help", "keys", "keys list", "audit verify", "keys rewrap --status",
	} {
		cmd := program(t, environ, strings.Fields(args)...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &said
		require.Error(t, cmd.Run(), args)
		require.Equal(t, 1, cmd.ProcessState.ExitCode(), args)
		require.Contains(t, said.String(), "no space left", args)
	}
}
