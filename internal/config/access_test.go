package config_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/server/audit"
)

func TestAccessSettings(t *testing.T) {
	c, _, err := load(t, []string{
		"COFFER_OIDC_ISSUER=https://id.example.com", "COFFER_OIDC_AUDIENCE=coffer, other", "COFFER_CORS_ORIGINS=https://a.example.com,http://localhost:5173",
		"COFFER_TRUSTED_PROXIES=10.0.0.0/8, ::1", "COFFER_AUDIT_CONTEXT=purpose", "COFFER_CONCURRENT=7",
	}, "--rate", "50")
	require.NoError(t, err)
	require.Equal(t, config.OIDC{
		Issuer: "https://id.example.com", Audiences: []string{"coffer", "other"}, TenantClaim: "tenant", ScopesClaim: "scope",
	}, c.OIDC)
	require.Equal(t, []string{"https://a.example.com", "http://localhost:5173"}, c.Origins)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, c.Proxies)
	require.Equal(t, []string{"purpose"}, c.Audit.Context)
	require.Equal(t, config.Limits{Rate: 50, Burst: 100, Concurrent: 7, Bytes: 512 << 20, TenantBytes: 256 << 20, Failures: 10}, c.Limits)
}

func TestLoadRefusesBadAccessSettings(t *testing.T) {
	const planted = "pl4nted"
	for setting, variable := range map[string]string{
		"COFFER_OIDC_ISSUER=https://" + planted: "COFFER_OIDC_AUDIENCE", "COFFER_OIDC_AUDIENCE=" + planted: "COFFER_OIDC_ISSUER",
		"COFFER_OIDC_JWKS_URL=" + planted: "COFFER_OIDC_ISSUER",
		"COFFER_CORS_ORIGINS=*":           "COFFER_CORS_ORIGINS", "COFFER_CORS_ORIGINS=https://*." + planted: "COFFER_CORS_ORIGINS",
		"COFFER_CORS_ORIGINS=https://" + planted + "/": "COFFER_CORS_ORIGINS", "COFFER_CORS_ORIGINS=null": "COFFER_CORS_ORIGINS",
		"COFFER_CORS_ORIGINS=https://a.example:443": "COFFER_CORS_ORIGINS", "COFFER_CORS_ORIGINS=http://a.example:80": "COFFER_CORS_ORIGINS",
		"COFFER_CORS_ORIGINS=https://é.example": "COFFER_CORS_ORIGINS",
		"COFFER_TRUSTED_PROXIES=" + planted:     "COFFER_TRUSTED_PROXIES", "COFFER_RATE=" + planted: "COFFER_RATE", "COFFER_BURST=0": "COFFER_BURST",
		"COFFER_CONCURRENT=-1": "COFFER_CONCURRENT", "COFFER_TOKEN_FAILURES=x": "COFFER_TOKEN_FAILURES",
		"COFFER_AUDIT_SYNC=" + planted: "COFFER_AUDIT_SYNC", "COFFER_AUDIT_ON_FAILURE=" + planted: "COFFER_AUDIT_ON_FAILURE",
		"COFFER_AUDIT_COPY=" + planted:     "COFFER_AUDIT_COPY",
		"COFFER_AUDIT_MAX_SIZE=" + planted: "COFFER_AUDIT_MAX_SIZE", "COFFER_AUDIT_MAX_AGE=" + planted: "COFFER_AUDIT_MAX_AGE", "COFFER_AUDIT_KEEP=" + planted: "COFFER_AUDIT_KEEP",
	} {
		t.Run(variable, func(t *testing.T) {
			_, _, err := load(t, []string{setting})
			require.ErrorContains(t, err, variable+" must", setting)
			require.NotContains(t, err.Error(), planted)
		})
	}
}

func TestLoadNamesProblemsOfTheIdentityProvider(t *testing.T) {
	const planted = "pl4nted"
	_, _, err := load(t, []string{
		"COFFER_OIDC_ISSUER=http://" + planted, "COFFER_OIDC_AUDIENCE=coffer", "COFFER_OIDC_TENANT_CLAIM=/" + planted + "//b", "COFFER_RATE=x",
	})
	for _, says := range []string{"COFFER_OIDC_*", "the issuer must use https", "the tenant claim must", "COFFER_RATE must"} {
		require.ErrorContains(t, err, says)
	}
	require.NotContains(t, err.Error(), planted)
	require.NotContains(t, err.Error(), "JWKS", "which was not given")
}

func TestAuditSettings(t *testing.T) {
	c, warnings, err := load(t, nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, config.Audit{Sync: audit.SyncNotable, OnFailure: audit.Refuse, MaxSize: 256 << 20, Budget: 32 << 30}, c.Audit, "the strict defaults")
	c, warnings, err = load(t, []string{"COFFER_AUDIT_SYNC=all"}, "--audit-on-failure", "continue")
	require.NoError(t, err)
	require.Equal(t, config.Audit{Sync: audit.SyncAll, OnFailure: audit.Continue, MaxSize: 256 << 20, Budget: 32 << 30}, c.Audit)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "--audit-on-failure")
	c, _, err = load(t, []string{"COFFER_AUDIT_SYNC=later"})
	require.NoError(t, err)
	require.Equal(t, audit.SyncLater, c.Audit.Sync)
	c, _, err = load(t, []string{"COFFER_AUDIT_MAX_SIZE=0", "COFFER_AUDIT_MAX_AGE=30d", "COFFER_AUDIT_KEEP=12"})
	require.NoError(t, err)
	require.Equal(t, []any{int64(0), 720 * time.Hour, 12}, []any{c.Audit.MaxSize, c.Audit.MaxAge, c.Audit.Keep})
	c, _, err = load(t, []string{"COFFER_AUDIT_COPY=stdout"})
	require.NoError(t, err)
	require.Equal(t, config.CopyStdout, c.Audit.Copy)
	c, _, err = load(t, []string{"COFFER_AUDIT_COPY=redis", "REDIS_HOST=localhost"})
	require.NoError(t, err)
	require.Equal(t, config.CopyRedis, c.Audit.Copy)
	_, _, err = load(t, []string{"COFFER_AUDIT_COPY=redis"})
	require.ErrorContains(t, err, "COFFER_AUDIT_COPY must not be redis without a Redis")
}

func TestDescribeReturnsValuesSourcesAndNoSecret(t *testing.T) {
	const planted = "pl4nted-secret"
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(set)
	require.NoError(t, set.Parse([]string{"--listen", "127.0.0.1:1"}))
	settings, warnings, err := config.Describe([]string{
		"ENCRYPTION_PASSPHRASE=" + planted, "REDIS_URL=redis://u:" + planted + "@h:1", "REDIS_PASSWORD=" + planted, "KDF_ITERATIONS=1", "COFFER_LISTEN=127.0.0.1:2",
	}, set)
	require.NoError(t, err)
	require.Len(t, warnings, 2)
	all := map[string]config.Setting{}
	for _, s := range settings {
		require.NotContains(t, s.Value, planted)
		all[s.Variable] = s
	}
	require.Equal(t, config.Setting{Variable: "COFFER_LISTEN", Value: "127.0.0.1:1", Source: "--listen"}, all["COFFER_LISTEN"])
	require.Equal(t, config.Setting{Variable: "COFFER_ENVIRONMENT", Value: "dev", Source: "default"}, all["COFFER_ENVIRONMENT"])
	require.Equal(t, config.Setting{Variable: "REDIS_PASSWORD", Value: "[secret]", Source: "environment"}, all["REDIS_PASSWORD"])
	require.Equal(t, "[secret]", all["ENCRYPTION_PASSPHRASE"].Value)
	require.Equal(t, "[secret]", all["REDIS_URL"].Value)
	require.Equal(t, "600000", all["KDF_ITERATIONS"].Value, "what is in force")
	set.VisitAll(func(f *pflag.Flag) { require.Contains(t, f.Usage, "; environment ") })
	_, _, err = config.Describe([]string{"KDF_ITERATIONS=x"}, nil)
	require.ErrorContains(t, err, "KDF_ITERATIONS")
}

// With such proxies any client could choose its own address.
func TestProxiesWarnIfTheyAreEveryAddress(t *testing.T) {
	for networks, warned := range map[string]bool{"0.0.0.0/0": true, "10.0.0.0/8,::/0": true, "10.0.0.0/8,::1": false} {
		_, warnings, err := load(t, []string{"COFFER_TRUSTED_PROXIES=" + networks})
		require.NoError(t, err)
		require.Equal(t, warned, len(warnings) == 1 && strings.Contains(warnings[0], "trusts every address"), networks)
	}
}

// All private networks together are a smaller share.
func TestProxiesWarnOnceIfTheyAreALargeShareOfAllAddresses(t *testing.T) {
	for networks, want := range map[string]string{
		"0.0.0.0/1,128.0.0.0/1":    "trusts every address",
		"::/1,8000::/1,10.0.0.0/8": "trusts every address",
		"128.0.0.0/1":              "trusts a 64th",
		"0.0.0.0/7,2.0.0.0/7":      "trusts a 64th",
		"2000::/3":                 "trusts a 64th",
		"10.0.0.0/8,11.0.0.0/8":    "",
		"10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,fc00::/7,fe80::/10,::1": "",
	} {
		_, warnings, err := load(t, []string{"COFFER_TRUSTED_PROXIES=" + networks})
		require.NoError(t, err)
		if want == "" {
			require.Empty(t, warnings, networks)
			continue
		}
		require.Len(t, warnings, 1, networks)
		require.Contains(t, warnings[0], want, networks)
	}
}
