package main_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	const planted = "pl4nted-secret"
	out, err := program(t, []string{"ENCRYPTION_MASTER_KEY=" + planted, "COFFER_ENVIRONMENT=prod"}, "config", "--rate", "5").Output()
	require.NoError(t, err)
	require.Regexp(t, `(?m)^SETTING +VALUE +FROM$`, string(out))
	require.Regexp(t, `(?m)^COFFER_ENVIRONMENT +prod +environment$`, string(out))
	require.Regexp(t, `(?m)^COFFER_RATE +5 +--rate$`, string(out))
	require.Regexp(t, `(?m)^REDIS_URL +- +default$`, string(out))
	require.Regexp(t, `(?m)^ENCRYPTION_MASTER_KEY +\[secret\] +environment$`, string(out))
	require.NotContains(t, string(out), planted)
	said := fails(t, program(t, []string{"COFFER_CORS_ORIGINS=" + planted, "COFFER_RATE=x"}, "config"))
	require.Contains(t, said, "COFFER_CORS_ORIGINS must")
	require.Contains(t, said, "COFFER_RATE must")
	require.NotContains(t, said, planted)
}

func TestVersionAndCompletion(t *testing.T) {
	out, err := program(t, nil, "version").Output()
	require.NoError(t, err)
	require.Regexp(t, `^coffer \S+\ngo1\S+ \w+/\w+\n`, string(out))
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		out, err := program(t, nil, "completion", shell).Output()
		require.NoError(t, err)
		require.Contains(t, string(out), "coffer")
	}
}

// A provider that cannot be is refused at the start, without quoting what was given.
func TestBadProvider(t *testing.T) {
	said := fails(t, program(t, []string{"COFFER_OIDC_ISSUER=ftp://pl4nted", "COFFER_OIDC_AUDIENCE=a"}, "serve", "--data", t.TempDir()))
	require.Contains(t, said, "COFFER_OIDC_")
	require.NotContains(t, said, "pl4nted")
}
