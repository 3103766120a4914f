package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/shared/classify"
)

func load(t *testing.T, environ []string, args ...string) (config.Config, []string, error) {
	t.Helper()
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(set)
	require.NoError(t, set.Parse(args))
	return config.Load(environ, set)
}

func TestDefaults(t *testing.T) {
	c, warnings, err := load(t, []string{"PATH=/bin", "COFFER_LISTEN=", "REDIS_URL=", "=odd"})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, config.Config{
		Listen: "127.0.0.1:8080", Data: "coffer-data", MinFree: 256 << 20, Environment: "dev", KDFIterations: 600_000,
		KMS:  config.KMS{Classes: map[classify.Class]config.MasterKey{}},
		Keys: config.Keys{TTL: time.Hour, Tenants: 50_000, Calls: 32, RotateAge: 90 * 24 * time.Hour, Grace: 24 * time.Hour, Rate: 1000}, Redis: config.Redis{Port: 6379}, MaxBody: 64 << 20, TTL: table(),
		OIDC: config.OIDC{TenantClaim: "tenant", ScopesClaim: "scope"}, Audit: config.Audit{MaxSize: 256 << 20, Budget: 32 << 30}, Log: config.Log{Requests: 1}, Limits: config.Limits{Burst: 100, Bytes: 512 << 20, TenantBytes: 256 << 20, Failures: 10},
		ReadTimeout: 2 * time.Minute, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		RequestTimeout: 15 * time.Second, ShutdownTimeout: 30 * time.Second,
	}, c)
	require.False(t, c.Redis.Configured())
}

// table returns the longest times of package classify.
func table() map[classify.Class]time.Duration {
	longest := map[classify.Class]time.Duration{}
	for _, class := range classify.All {
		longest[class] = time.Duration(class.Rules().MaxTTL) * time.Second
	}
	return longest
}

func TestTTLsWarnWhenLongerThanTheirClass(t *testing.T) {
	want := table()
	want[classify.PHI], want[classify.Internal], want[classify.Public] = 12*time.Hour, 2*24*time.Hour, time.Hour
	c, warnings, err := load(t, []string{"COFFER_TTL_PHI=12h", "COFFER_TTL_INTERNAL=2d", "COFFER_TTL_PUBLIC=1h"})
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, want, c.TTL)
	_, warnings, err = load(t, []string{"COFFER_TTL_PII=8d"})
	require.NoError(t, err)
	require.Equal(t, []string{"COFFER_TTL_PII is longer than the 7d that the class is meant for"}, warnings)
}

func TestAlgorithmAcceptsTheGuidesSpellings(t *testing.T) {
	for _, spelling := range []string{"AES-256-GCM", "aes-256-gcm", "AES256_GCM", "AES-GCM", "aes_256_gcm"} {
		t.Run(spelling, func(t *testing.T) {
			_, _, err := load(t, []string{"ENCRYPTION_ALGORITHM=" + spelling})
			require.NoError(t, err, spelling)
		})
	}
}

func TestEncryptionCanBeDisabledOutsideProduction(t *testing.T) {
	for _, environment := range []string{"dev", "staging", "product"} {
		t.Run(environment, func(t *testing.T) {
			c, warnings, err := load(t, []string{"ENCRYPTION_ENABLED=false", "COFFER_ENVIRONMENT=" + environment, "COFFER_PRODUCTION=false"})
			require.NoError(t, err)
			require.True(t, c.Unencrypted)
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], "IN THE CLEAR")
		})
	}
	c, warnings, err := load(t, []string{"ENCRYPTION_ENABLED=true", "COFFER_ENVIRONMENT=prod"})
	require.NoError(t, err)
	require.False(t, c.Unencrypted)
	require.Empty(t, warnings)
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	c, _, err := load(t, []string{"COFFER_LISTEN=127.0.0.1:1", "COFFER_DATA=/env", "COFFER_ENVIRONMENT=prod"},
		"--listen", "127.0.0.1:0", "--environment=staging", "--max-body", "10")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:0", c.Listen)
	require.Equal(t, "/env", c.Data)
	require.Equal(t, "staging", c.Environment)
	require.EqualValues(t, 10, c.MaxBody)
}

func TestAddFlagsAddsTheNamedFlags(t *testing.T) {
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(set, "data")
	require.NoError(t, set.Parse([]string{"--data", "/d"}))
	require.Error(t, set.Parse([]string{"--listen", "x"}))
	c, _, err := config.Load(nil, set)
	require.NoError(t, err)
	require.Equal(t, "/d", c.Data)
}

func TestRedisSettings(t *testing.T) {
	c, _, err := load(t, []string{"REDIS_HOST=::1", "REDIS_PORT=7000", "REDIS_PASSWORD=pw", "REDIS_DB=3"})
	require.NoError(t, err)
	require.True(t, c.Redis.Configured())
	require.Equal(t, config.Redis{Host: "::1", Port: 7000, Password: "pw", DB: 3}, c.Redis)

	c, _, err = load(t, []string{
		"REDIS_SENTINEL_ADDRS=s1:26379, s2:26379", "REDIS_MASTER_NAME=m", "REDIS_SENTINEL_PASSWORD=sp", "REDIS_USERNAME=u", "REDIS_PASSWORD=pw", "REDIS_DB=1",
		"REDIS_TLS=true",
	})
	require.NoError(t, err)
	require.True(t, c.Redis.Configured())
	require.Equal(t, config.Redis{
		Sentinels: []string{"s1:26379", "s2:26379"}, Master: "m", SentinelPassword: "sp", Username: "u", Password: "pw", DB: 1, TLS: true, Port: 6379,
	}, c.Redis)
	c, _, err = load(t, []string{"REDIS_CLUSTER_ADDRS=[::1]:7000", "REDIS_TLS=false"})
	require.NoError(t, err)
	require.True(t, c.Redis.Configured())
	require.Equal(t, config.Redis{Cluster: []string{"[::1]:7000"}, Port: 6379}, c.Redis)

	_, warnings, err := load(t, []string{"REDIS_URL=redis://h", "REDIS_PASSWORD=" + planted, "REDIS_PORT=1"})
	require.NoError(t, err)
	require.Equal(t, []string{
		"REDIS_PORT is not used, because REDIS_URL is set", "REDIS_PASSWORD is not used, because REDIS_URL is set",
	}, warnings)

	c, warnings, err = load(t, []string{"REDIS_URL=rediss://u:pw@example.org:1/2", "REDIS_HOST=other"})
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.EqualValues(t, "rediss://u:pw@example.org:1/2", c.Redis.URL)
	store, err := c.Redis.Open()
	require.NoError(t, err)
	require.NoError(t, store.Close())
}

func TestKDFIterationsAreRaisedToTheMinimum(t *testing.T) {
	c, warnings, err := load(t, []string{"KDF_ITERATIONS=100000"})
	require.NoError(t, err)
	require.EqualValues(t, classify.MinWriteIterations, c.KDFIterations)
	require.Equal(t, []string{"KDF_ITERATIONS is below the minimum for new keys: raised to 600000"}, warnings)

	c, warnings, err = load(t, []string{"KDF_ITERATIONS=700000"})
	require.NoError(t, err)
	require.EqualValues(t, 700_000, c.KDFIterations)
	require.Empty(t, warnings)
}

// planted is in every value below that is refused. No message may contain it.
const planted = "s3cr3t"

func TestLoadRefusesBadValues(t *testing.T) {
	tests := []struct{ environ, says string }{
		{"COFFER_LISTEN=" + planted, "COFFER_LISTEN must be host:port"},
		{"COFFER_LISTEN=127.0.0.1:65536", "COFFER_LISTEN must be host:port"},
		{"COFFER_LISTEN=127.0.0.1:" + planted, "COFFER_LISTEN must be host:port"},
		{"COFFER_LISTEN=127.0.0.1:", "COFFER_LISTEN must be host:port"},
		{"COFFER_DATA=a\x00" + planted, "COFFER_DATA must be the path of a directory"},
		{"COFFER_ENVIRONMENT=Prod " + planted, "COFFER_ENVIRONMENT must be a label"},
		{"COFFER_ENVIRONMENT=" + strings.Repeat("a", 65), "COFFER_ENVIRONMENT must be a label"},
		{"ENCRYPTION_MASTER_KEY=", "ENCRYPTION_MASTER_KEY is set but empty"},
		{"ENCRYPTION_MASTER_KEY=" + planted, "ENCRYPTION_MASTER_KEY must be 32 random bytes"},
		{"ENCRYPTION_PASSPHRASE=", "ENCRYPTION_PASSPHRASE is set but empty"},
		{"ENCRYPTION_PASSPHRASE=" + planted, "ENCRYPTION_PASSPHRASE must have at least 8 characters"},
		{"ENCRYPTION_PASSPHRASE=ééééééé", "ENCRYPTION_PASSPHRASE must have at least 8 characters"},
		{"ENCRYPTION_PASSPHRASE=" + planted + "\xff and more", "ENCRYPTION_PASSPHRASE must be valid UTF-8"},
		{"KDF_ITERATIONS=" + planted, "KDF_ITERATIONS must be a whole number from 1 to 10000000"},
		{"KDF_ITERATIONS=0", "KDF_ITERATIONS must be"},
		{"KDF_ITERATIONS=-1", "KDF_ITERATIONS must be"},
		{"KDF_ITERATIONS=10000001", "KDF_ITERATIONS must be"},
		{"KDF_ITERATIONS=1e6", "KDF_ITERATIONS must be"},
		{"KDF_ITERATIONS=99999999999999999999", "KDF_ITERATIONS must be"},
		{"REDIS_URL=http://:" + planted + "@h", "REDIS_URL is not valid: the Redis URL must begin with redis://"},
		{"REDIS_URL=redis://:" + planted + "%zz@h", "REDIS_URL is not valid: the Redis URL cannot be parsed"},
		{"REDIS_URL=redis://:" + planted + "@h/" + planted, "REDIS_URL is not valid: "},
		{"REDIS_HOST=redis://" + planted, "REDIS_HOST must be a host name"},
		{"REDIS_HOST=h:6379", "REDIS_HOST must be a host name"},
		{"REDIS_PASSWORD=" + planted, "REDIS_PASSWORD is set, but not REDIS_HOST or REDIS_SENTINEL_ADDRS or REDIS_CLUSTER_ADDRS"},
		{"REDIS_DB=1", "REDIS_DB is set, but not REDIS_HOST or REDIS_SENTINEL_ADDRS"},
		{"REDIS_CLUSTER_ADDRS=h:1,REDIS_DB=1", "REDIS_DB is set, but not"},
		{"REDIS_CLUSTER_ADDRS=h", "REDIS_CLUSTER_ADDRS must be host:port"},
		{"REDIS_CLUSTER_ADDRS=" + planted + "@h:1", "REDIS_CLUSTER_ADDRS must be host:port"},
		{"REDIS_SENTINEL_ADDRS=h:0", "REDIS_SENTINEL_ADDRS must be host:port"},
		{"REDIS_SENTINEL_ADDRS=h:1", "REDIS_MASTER_NAME must be set"},
		{"REDIS_HOST=h,REDIS_MASTER_NAME=m", "REDIS_MASTER_NAME is set, but not REDIS_SENTINEL_ADDRS"},
		{"REDIS_HOST=h,REDIS_CLUSTER_ADDRS=h:1", "REDIS_CLUSTER_ADDRS and REDIS_HOST are both set"},
		{"REDIS_HOST=h,REDIS_TLS=" + planted, "REDIS_TLS must be true or false"},
		{"REDIS_URL=redis://h,REDIS_TLS=true", "REDIS_URL must begin with rediss://"},
		{"ENCRYPTION_ENABLED=" + planted, "ENCRYPTION_ENABLED must be true or false"},
		{"ENCRYPTION_ENABLED=false,COFFER_ENVIRONMENT=prod", "ENCRYPTION_ENABLED is false, which must not be used in production"},
		{"ENCRYPTION_ENABLED=0,COFFER_ENVIRONMENT=live", "ENCRYPTION_ENABLED is false, which must not be used in production"},
		{"ENCRYPTION_ENABLED=False,COFFER_PRODUCTION=true", "ENCRYPTION_ENABLED is false, which must not be used while COFFER_PRODUCTION is true"},
		{"COFFER_PRODUCTION=" + planted, "COFFER_PRODUCTION must be true or false"},
		{"COFFER_LOG_LEVEL=" + planted, "COFFER_LOG_LEVEL must be debug, info, warn or error"},
		{"COFFER_LOG_REQUESTS=1.5", "COFFER_LOG_REQUESTS must be all, none, or a share"},
		{"COFFER_LOG_REQUESTS=NaN", "COFFER_LOG_REQUESTS must be all, none, or a share"},
		{"ENCRYPTION_ALGORITHM=AES-256-CBC", "ENCRYPTION_ALGORITHM must be AES-256-GCM"},
		{"ENCRYPTION_ALGORITHM=" + planted, "ENCRYPTION_ALGORITHM must be AES-256-GCM"},
		{"COFFER_TTL_PHI=none", "COFFER_TTL_PHI must be a duration"},
		{"COFFER_TTL_PUBLIC=0s", "COFFER_TTL_PUBLIC must be a duration"},
		{"COFFER_TTL_PII=3651d", "COFFER_TTL_PII must be a duration"},
		{"COFFER_TTL_INTERNAL=" + planted, "COFFER_TTL_INTERNAL must be a duration"},
		{"REDIS_HOST=h,REDIS_PORT=tcp://10.0.0.1:6379", "REDIS_PORT must be a whole number from 1 to 65535"},
		{"REDIS_HOST=h,REDIS_PORT=0", "REDIS_PORT must be"},
		{"REDIS_HOST=h,REDIS_DB=" + planted, "REDIS_DB must be"},
		{"COFFER_MAX_BODY=67108865", "COFFER_MAX_BODY must be a whole number from 1 to 67108864"},
		{"COFFER_MAX_BODY=1MB", "COFFER_MAX_BODY must be"},
		{"COFFER_READ_TIMEOUT=30", "COFFER_READ_TIMEOUT must be a duration"},
		{"COFFER_WRITE_TIMEOUT=0s", "COFFER_WRITE_TIMEOUT must be a duration"},
		{"COFFER_IDLE_TIMEOUT=-1s", "COFFER_IDLE_TIMEOUT must be a duration"},
		{"COFFER_REQUEST_TIMEOUT=25h", "COFFER_REQUEST_TIMEOUT must be a duration"},
		{"COFFER_SHUTDOWN_DELAY=6m", "COFFER_SHUTDOWN_DELAY must be a duration up to 5m"},
		{"COFFER_SHUTDOWN_DELAY=-1s", "COFFER_SHUTDOWN_DELAY must be"},
		{"COFFER_SHUTDOWN_TIMEOUT=" + planted, "COFFER_SHUTDOWN_TIMEOUT must be a duration"},
	}
	for _, test := range tests {
		t.Run(test.environ, func(t *testing.T) {
			_, warnings, err := load(t, strings.Split(test.environ, ","))
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error()+strings.Join(warnings, ""), planted)
		})
	}
}

func TestLoadNamesAllBadValues(t *testing.T) {
	_, _, err := load(t, []string{"KDF_ITERATIONS=x", "REDIS_PORT=1", "ENCRYPTION_MASTER_KEY="}, "--listen", "x", "--max-body=")
	for _, name := range []string{"KDF_ITERATIONS", "REDIS_PORT", "ENCRYPTION_MASTER_KEY", "--listen", "--max-body"} {
		require.ErrorContains(t, err, "\n  - "+name+" ")
	}
	require.NotContains(t, err.Error(), "COFFER_LISTEN", "the flag is what was wrong")
}

// Kubernetes and other programs may set variables that look alike.
func TestLoadRefusesMisspeltVariables(t *testing.T) {
	for name, says := range map[string]string{
		"COFFER_LISTNE":              "COFFER_LISTNE is not the name of a setting: did you mean COFFER_LISTEN?",
		"COFFER_ENVIROMENT":          "COFFER_ENVIROMENT is not the name of a setting: did you mean COFFER_ENVIRONMENT?",
		"COFFER_AUDIT_CONTEXTS":      "did you mean COFFER_AUDIT_CONTEXT?",
		"COFFER_AUDIT_MAXSIZE":       "did you mean COFFER_AUDIT_MAX_SIZE?",
		"COFFER_ENCRYPTION_ENABLE":   "did you mean ENCRYPTION_ENABLED?",
		"COFFER_KMS_PROVIDER":        "did you mean KMS_PROVIDER?",
		"COFFER_REDIS_URL":           "did you mean REDIS_URL?",
		"COFFER_TTL":                 "`coffer serve --help` lists them",
		"COFFER_":                    "`coffer serve --help` lists them",
		"COFFER_PORT":                "`coffer serve --help` lists them",
		"COFFER_ÄÖ\xff":              "`coffer serve --help` lists them",
		"COFFER_SERVICE_HOSTS":       "`coffer serve --help` lists them",
		"COFFER_BYTES_SERVICE":       "`coffer serve --help` lists them",
		"COFFER_TTL_PHI_PORT_80_TLS": "`coffer serve --help` lists them",
	} {
		t.Run(name, func(t *testing.T) {
			_, warnings, err := load(t, []string{name + "=" + planted})
			require.ErrorContains(t, err, says, name)
			require.NotContains(t, err.Error()+strings.Join(warnings, ""), planted)
		})
	}
	_, _, err := load(t, []string{"COFFER_RATES=1", "COFFER_BURSTS=1", "COFFER_CONCURRENT=x", "COFFER_LISTNE="})
	require.EqualError(t, err, "the configuration is not valid:\n  - COFFER_BURSTS is not the name of a setting: did you mean COFFER_BURST?\n"+
		"  - COFFER_RATES is not the name of a setting: did you mean COFFER_RATE?\n  - COFFER_CONCURRENT must be a whole number from 0 to 1000000")
	_, _, err = load(t, []string{
		"COFFERS=1", "coffer_rate=1", "REDIS_PASWORD=x", "COFFER_SERVICE_HOST=10.0.0.1", "COFFER_SERVICE_PORT=80", "COFFER_METRICS_SERVICE_PORT_HTTP=9090",
		"COFFER_PORT=tcp://10.0.0.1:80", "COFFER_PORT_80_TCP=tcp://10.0.0.1:80", "COFFER_PORT_80_TCP_PROTO=tcp", "COFFER_PORT_80_TCP_ADDR=10.0.0.1",
	})
	require.NoError(t, err)
}

func TestFormattingHidesSecrets(t *testing.T) {
	c, _, err := load(t, []string{"ENCRYPTION_PASSPHRASE=" + planted + " and more", "PHI_ENCRYPTION_KEY=" + master, "REDIS_HOST=h", "REDIS_PASSWORD=" + planted})
	require.NoError(t, err)
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("config", "c", c, "key", c.MasterKey)
	encoded, err := json.Marshal(c)
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.MasterKey, c.MasterKey.Passphrase, c.MasterKey.Passphrase), logged.String(), string(encoded)} {
		require.NotContains(t, text, planted)
	}
}
