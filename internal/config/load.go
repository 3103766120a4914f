package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
)

// raw holds every setting as text: what a value may be is checked here, because the parsers of others quote
// what they refuse.
type raw struct {
	Listen      string `env:"COFFER_LISTEN" envDefault:"127.0.0.1:8080"`
	Data        string `env:"COFFER_DATA" envDefault:"coffer-data"`
	Environment string `env:"COFFER_ENVIRONMENT" envDefault:"dev"`
	Production  string `env:"COFFER_PRODUCTION"`

	MasterKey             string `env:"ENCRYPTION_MASTER_KEY"`
	MasterKeyFile         string `env:"ENCRYPTION_MASTER_KEY_FILE"`
	Passphrase            string `env:"ENCRYPTION_PASSPHRASE"`
	PassphraseFile        string `env:"ENCRYPTION_PASSPHRASE_FILE"`
	MasterKeyCommand      string `env:"COFFER_MASTER_KEY_COMMAND"`
	PassphraseCommand     string `env:"COFFER_PASSPHRASE_COMMAND"`
	GeneralKey            string `env:"GENERAL_ENCRYPTION_KEY"`
	GeneralKeyFile        string `env:"GENERAL_ENCRYPTION_KEY_FILE"`
	GeneralPassphrase     string `env:"GENERAL_ENCRYPTION_PASSPHRASE"`
	GeneralPassphraseFile string `env:"GENERAL_ENCRYPTION_PASSPHRASE_FILE"`
	PIIKey                string `env:"PII_ENCRYPTION_KEY"`
	PIIKeyFile            string `env:"PII_ENCRYPTION_KEY_FILE"`
	PIIPassphrase         string `env:"PII_ENCRYPTION_PASSPHRASE"`
	PIIPassphraseFile     string `env:"PII_ENCRYPTION_PASSPHRASE_FILE"`
	PHIKey                string `env:"PHI_ENCRYPTION_KEY"`
	PHIKeyFile            string `env:"PHI_ENCRYPTION_KEY_FILE"`
	PHIPassphrase         string `env:"PHI_ENCRYPTION_PASSPHRASE"`
	PHIPassphraseFile     string `env:"PHI_ENCRYPTION_PASSPHRASE_FILE"`
	Enabled               string `env:"ENCRYPTION_ENABLED" envDefault:"true"`
	Algorithm             string `env:"ENCRYPTION_ALGORITHM" envDefault:"AES-256-GCM"`
	KDFIterations         string `env:"KDF_ITERATIONS" envDefault:"600000"`

	Provider               string `env:"KMS_PROVIDER" envDefault:"local"`
	KEK                    string `env:"COFFER_KEK"`
	KEKFile                string `env:"COFFER_KEK_FILE"`
	AWSRegion              string `env:"AWS_REGION"`
	AWSKey                 string `env:"AWS_KMS_KEY_ID"`
	AWSAccessKeyID         string `env:"AWS_ACCESS_KEY_ID"`
	AWSAccessKeyIDFile     string `env:"AWS_ACCESS_KEY_ID_FILE"`
	AWSSecretAccessKey     string `env:"AWS_SECRET_ACCESS_KEY"`
	AWSSecretAccessKeyFile string `env:"AWS_SECRET_ACCESS_KEY_FILE"`
	AWSSessionToken        string `env:"AWS_SESSION_TOKEN"`
	AWSSessionTokenFile    string `env:"AWS_SESSION_TOKEN_FILE"`
	AzureVault             string `env:"AZURE_KEY_VAULT_URL"`
	AzureKey               string `env:"AZURE_KEY_NAME"`
	AzureTenantID          string `env:"AZURE_TENANT_ID"`
	AzureClientID          string `env:"AZURE_CLIENT_ID"`
	AzureClientSecret      string `env:"AZURE_CLIENT_SECRET"`
	AzureClientSecretFile  string `env:"AZURE_CLIENT_SECRET_FILE"`
	GoogleCredentials      string `env:"GOOGLE_APPLICATION_CREDENTIALS"`
	GCPProject             string `env:"GCP_PROJECT_ID"`
	GCPLocation            string `env:"GCP_LOCATION"`
	GCPRing                string `env:"GCP_KEY_RING"`
	GCPKey                 string `env:"GCP_KEY_NAME"`
	VaultAddress           string `env:"VAULT_ADDR"`
	VaultToken             string `env:"VAULT_TOKEN"`
	VaultTokenFile         string `env:"VAULT_TOKEN_FILE"`
	VaultKey               string `env:"VAULT_KEY_NAME" envDefault:"coffer"`

	KeysRedisURL     string `env:"COFFER_KEYS_REDIS_URL"`
	KeysRedisURLFile string `env:"COFFER_KEYS_REDIS_URL_FILE"`
	KeyCacheTTL      string `env:"COFFER_KEY_CACHE_TTL" envDefault:"1h"`
	KeyCacheUses     string `env:"COFFER_KEY_CACHE_USES" envDefault:"0"`
	KeyCacheTenants  string `env:"COFFER_KEY_CACHE_TENANTS" envDefault:"50000"`
	KMSCalls         string `env:"COFFER_KMS_CALLS" envDefault:"32"`
	RotationDays     string `env:"KEY_ROTATION_DAYS" envDefault:"90"`
	RotationUses     string `env:"KEY_ROTATION_USES" envDefault:"0"`
	KeyGrace         string `env:"COFFER_KEY_GRACE" envDefault:"24h"`
	ReencryptRate    string `env:"COFFER_REENCRYPT_RATE" envDefault:"1000"`

	TTLPublic       string `env:"COFFER_TTL_PUBLIC" envDefault:"none"`
	TTLInternal     string `env:"COFFER_TTL_INTERNAL" envDefault:"30d"`
	TTLConfidential string `env:"COFFER_TTL_CONFIDENTIAL" envDefault:"24h"`
	TTLPII          string `env:"COFFER_TTL_PII" envDefault:"7d"`
	TTLPHI          string `env:"COFFER_TTL_PHI" envDefault:"24h"`

	RedisURL                  string `env:"REDIS_URL"`
	RedisURLFile              string `env:"REDIS_URL_FILE"`
	RedisHost                 string `env:"REDIS_HOST"`
	RedisPort                 string `env:"REDIS_PORT"`
	RedisUsername             string `env:"REDIS_USERNAME"`
	RedisPassword             string `env:"REDIS_PASSWORD"`
	RedisPasswordFile         string `env:"REDIS_PASSWORD_FILE"`
	RedisDB                   string `env:"REDIS_DB"`
	RedisTLS                  string `env:"REDIS_TLS"`
	RedisSentinels            string `env:"REDIS_SENTINEL_ADDRS"`
	RedisMaster               string `env:"REDIS_MASTER_NAME"`
	RedisSentinelPassword     string `env:"REDIS_SENTINEL_PASSWORD"`
	RedisSentinelPasswordFile string `env:"REDIS_SENTINEL_PASSWORD_FILE"`
	RedisCluster              string `env:"REDIS_CLUSTER_ADDRS"`

	MaxBody         string `env:"COFFER_MAX_BODY" envDefault:"67108864"`
	OIDCIssuer      string `env:"COFFER_OIDC_ISSUER"`
	OIDCAudience    string `env:"COFFER_OIDC_AUDIENCE"`
	OIDCJWKSURL     string `env:"COFFER_OIDC_JWKS_URL"`
	OIDCTenantClaim string `env:"COFFER_OIDC_TENANT_CLAIM" envDefault:"tenant"`
	OIDCScopesClaim string `env:"COFFER_OIDC_SCOPES_CLAIM" envDefault:"scope"`

	AuditContext   string `env:"COFFER_AUDIT_CONTEXT"`
	AuditSync      string `env:"COFFER_AUDIT_SYNC" envDefault:"notable"`
	AuditOnFailure string `env:"COFFER_AUDIT_ON_FAILURE" envDefault:"stop"`
	AuditCopy      string `env:"COFFER_AUDIT_COPY"`
	AuditMaxSize   string `env:"COFFER_AUDIT_MAX_SIZE" envDefault:"268435456"`
	AuditMaxAge    string `env:"COFFER_AUDIT_MAX_AGE" envDefault:"none"`
	AuditKeep      string `env:"COFFER_AUDIT_KEEP" envDefault:"all"`
	AuditBudget    string `env:"COFFER_AUDIT_BUDGET" envDefault:"34359738368"`

	LogLevel    string `env:"COFFER_LOG_LEVEL" envDefault:"info"`
	LogRequests string `env:"COFFER_LOG_REQUESTS" envDefault:"all"`

	Origins     string `env:"COFFER_CORS_ORIGINS"`
	Proxies     string `env:"COFFER_TRUSTED_PROXIES"`
	Rate        string `env:"COFFER_RATE" envDefault:"0"`
	Burst       string `env:"COFFER_BURST" envDefault:"100"`
	Concurrent  string `env:"COFFER_CONCURRENT" envDefault:"0"`
	Bytes       string `env:"COFFER_BYTES" envDefault:"536870912"`
	TenantBytes string `env:"COFFER_TENANT_BYTES" envDefault:"268435456"`

	TenantStorage string `env:"COFFER_TENANT_STORAGE" envDefault:"0"`
	MinFree       string `env:"COFFER_MIN_FREE" envDefault:"268435456"`

	Failures string `env:"COFFER_TOKEN_FAILURES" envDefault:"10"`

	ReadTimeout     string `env:"COFFER_READ_TIMEOUT" envDefault:"2m"`
	WriteTimeout    string `env:"COFFER_WRITE_TIMEOUT" envDefault:"2m"`
	IdleTimeout     string `env:"COFFER_IDLE_TIMEOUT" envDefault:"2m"`
	RequestTimeout  string `env:"COFFER_REQUEST_TIMEOUT" envDefault:"15s"`
	ShutdownDelay   string `env:"COFFER_SHUTDOWN_DELAY" envDefault:"0s"`
	ShutdownTimeout string `env:"COFFER_SHUTDOWN_TIMEOUT" envDefault:"30s"`
}

// flags are the settings that have a flag. Secrets have none: the arguments of a process are there for every
// user to read.
var flags = []struct{ name, variable, usage string }{
	{"listen", "COFFER_LISTEN", "address to listen on, host:port (default 127.0.0.1:8080)"},
	{"data", "COFFER_DATA", "directory of keys, token and the cache without Redis (default coffer-data)"},
	{"environment", "COFFER_ENVIRONMENT", "label bound to every key, such as dev, staging or prod (default dev)"},
	{"production", "COFFER_PRODUCTION", "true refuses a local KEK, values in the clear and unverified connections (default true unless the environment is dev)"},
	{"key-cache-ttl", "COFFER_KEY_CACHE_TTL", "how long keys stay in memory after the KMS unwrapped them, and an outage of it is survived (default 1h)"},
	{"key-cache-uses", "COFFER_KEY_CACHE_USES", "packages of a tenant for which they do, 0 for any number (default 0)"},
	{"key-cache-tenants", "COFFER_KEY_CACHE_TENANTS", "tenants whose keys are in memory at most (default 50000)"},
	{"kms-calls", "COFFER_KMS_CALLS", "tenants that are unlocked or renewed at once, each by a call of the KMS (default 32)"},
	{"key-rotation-days", "KEY_ROTATION_DAYS", "age in days at which a tenant's keys are rotated, 0 for never (default 90)"},
	{"key-rotation-uses", "KEY_ROTATION_USES", "packages after which a key is, 0 for any number (default 0)"},
	{"key-grace", "COFFER_KEY_GRACE", "how long former keys stay as they are once the cache is under the new ones (default 24h)"},
	{"reencrypt-rate", "COFFER_REENCRYPT_RATE", "entries that a rotation reseals in a second, 0 for no limit (default 1000)"},
	{"max-body", "COFFER_MAX_BODY", "largest request body in bytes (default 67108864)"},
	{"oidc-issuer", "COFFER_OIDC_ISSUER", "URL of the OpenID Connect provider whose JWTs are accepted besides API tokens"},
	{"oidc-audience", "COFFER_OIDC_AUDIENCE", "what its tokens must be for, several separated by commas"},
	{"oidc-jwks-url", "COFFER_OIDC_JWKS_URL", "where its keys are (default: as its discovery document says)"},
	{"oidc-tenant-claim", "COFFER_OIDC_TENANT_CLAIM", "claim, or JSON pointer, that names the tenant (default tenant)"},
	{"oidc-scopes-claim", "COFFER_OIDC_SCOPES_CLAIM", "claim, or JSON pointer, that names the scopes (default scope)"},
	{"cors-origins", "COFFER_CORS_ORIGINS", "origins whose pages may use the API, separated by commas"},
	{"trusted-proxies", "COFFER_TRUSTED_PROXIES", "networks of proxies whose X-Forwarded-For is believed, separated by commas"},
	{"audit-context", "COFFER_AUDIT_CONTEXT", "keys of contexts that the audit log shows, separated by commas; none may name a person"},
	{"audit-sync", "COFFER_AUDIT_SYNC", "what is on the disk before it is answered: all, notable (all but ordinary use) or later (default notable)"},
	{"audit-copy", "COFFER_AUDIT_COPY", "where a server copies the audit log's lines: stdout, or redis for the stream coffer:audit of the cache's Redis"},
	{"audit-max-size", "COFFER_AUDIT_MAX_SIZE", "bytes of a file of the audit log, before another is begun; 0 for any number (default 268435456)"},
	{"audit-max-age", "COFFER_AUDIT_MAX_AGE", "age of a file of the audit log, before another is begun, such as 24h or 30d (default none)"},
	{"audit-keep", "COFFER_AUDIT_KEEP", "earlier files of the audit log that are kept; others are deleted (default all)"},
	{"audit-budget", "COFFER_AUDIT_BUDGET", "bytes of all files of the audit log, beyond which no key is used and no refusal recorded; 0 for any number (default 34359738368)"},
	{"audit-on-failure", "COFFER_AUDIT_ON_FAILURE", "what a server does that cannot record: stop (refuse) or continue (default stop)"},
	{"log-level", "COFFER_LOG_LEVEL", "least important lines of the server's log: debug, info, warn or error (default info)"},
	{"log-requests", "COFFER_LOG_REQUESTS", "which requests that succeed have a line in it: all, none, or a share such as 0.01; errors and refusals always have one (default all)"},
	{"rate", "COFFER_RATE", "requests a second of a tenant, where each operation of a batch, 16 KiB of a value, 25 keys of a list and 100 lines of the audit log count as a request, 0 for any number (default 0)"},
	{"burst", "COFFER_BURST", "requests that a tenant may make at once after a rest (default 100)"},
	{"concurrent", "COFFER_CONCURRENT", "requests of a tenant at the same time, 0 for any number (default 0)"},
	{"bytes", "COFFER_BYTES", "bytes that requests of more than 128 KiB hold in memory together, 0 for any number (default 536870912)"},
	{"tenant-bytes", "COFFER_TENANT_BYTES", "bytes that those of one tenant do (default 268435456)"},
	{"tenant-storage", "COFFER_TENANT_STORAGE", "bytes that a tenant's entries and sessions may take in the store, 0 for any number (default 0)"},
	{"min-free", "COFFER_MIN_FREE", "bytes of the data directory's disk that entries leave free for the audit log and the keys (default 268435456)"},
	{"token-failures", "COFFER_TOKEN_FAILURES", "wrong tokens a minute, after which an address has to wait before it sends another wrong one (default 10)"},
	{"read-timeout", "COFFER_READ_TIMEOUT", "longest time to read a request (default 2m)"},
	{"write-timeout", "COFFER_WRITE_TIMEOUT", "longest time to write a response (default 2m)"},
	{"idle-timeout", "COFFER_IDLE_TIMEOUT", "how long an unused connection stays open (default 2m)"},
	{"request-timeout", "COFFER_REQUEST_TIMEOUT", "longest time store and keys may take for a request (default 15s)"},
	{"shutdown-delay", "COFFER_SHUTDOWN_DELAY", "how long a shutdown takes requests while /readyz fails, for load balancers to notice (default 0s)"},
	{"shutdown-timeout", "COFFER_SHUTDOWN_TIMEOUT", "how long a shutdown waits for requests in flight (default 30s)"},
}

// Help tells of the settings that have no flag, for the help of commands.
const Help = `Every setting has an environment variable; a flag wins over it. In development (COFFER_ENVIRONMENT is dev or not set) the file .env of the working
directory is read too, and the environment wins over it. A variable that begins with COFFER_ and is no setting's is refused. These have no flag:

    ENCRYPTION_MASTER_KEY    32 random bytes in base64 (openssl rand -base64 32)
    ENCRYPTION_PASSPHRASE    instead of a key, a passphrase of at least 8 characters
    COFFER_MASTER_KEY_COMMAND, COFFER_PASSPHRASE_COMMAND
                             instead of either, a program that prints it, with its arguments; it is run without a shell
    GENERAL_ENCRYPTION_KEY, GENERAL_ENCRYPTION_PASSPHRASE
                             other names of ENCRYPTION_MASTER_KEY and ENCRYPTION_PASSPHRASE
    PII_ENCRYPTION_KEY, PII_ENCRYPTION_PASSPHRASE, PHI_ENCRYPTION_KEY, PHI_ENCRYPTION_PASSPHRASE
                             master keys or passphrases of their own for these classes
    KMS_PROVIDER             local (the above), or where the keys' own key is instead of a master key, as production takes it:
        aws                  AWS_REGION, AWS_KMS_KEY_ID (an id, ARN or alias/NAME); AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
        azure                AZURE_KEY_VAULT_URL, AZURE_KEY_NAME; AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET
        gcp                  GCP_PROJECT_ID, GCP_LOCATION, GCP_KEY_RING, GCP_KEY_NAME; GOOGLE_APPLICATION_CREDENTIALS (a file)
        vault                VAULT_ADDR, VAULT_TOKEN (or VAULT_TOKEN_FILE, read again when it changes), VAULT_KEY_NAME (coffer)
    COFFER_KEK               its URL, instead of KMS_PROVIDER
    KDF_ITERATIONS           PBKDF2 iterations of a passphrase, at least 600000
    ENCRYPTION_ALGORITHM     AES-256-GCM, the only one
    ENCRYPTION_ENABLED       false stores values in the clear, for local debugging; refused if COFFER_PRODUCTION is true
    COFFER_KEYS_REDIS_URL    a Redis that persists, for the keys of servers on several hosts
    COFFER_TTL_PUBLIC, COFFER_TTL_INTERNAL, COFFER_TTL_CONFIDENTIAL, COFFER_TTL_PII, COFFER_TTL_PHI
                             the longest, and default, time in the cache of each class, such as 12h or 7d

    REDIS_URL                redis://user:password@host:port/database, or rediss:// for TLS; or instead of it
    REDIS_HOST, REDIS_PORT   one server, or
    REDIS_SENTINEL_ADDRS, REDIS_MASTER_NAME, REDIS_SENTINEL_PASSWORD
                             Sentinels as host:port, separated by commas, or
    REDIS_CLUSTER_ADDRS      some servers of a Cluster; with
    REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB, REDIS_TLS=true

Without Redis the cache is kept in the data directory. A secret can be given by the path of a file, with _FILE behind its variable's name:
ENCRYPTION_MASTER_KEY_FILE, REDIS_PASSWORD_FILE, REDIS_URL_FILE and so on.`

// AddFlags adds the flags with the given names to a command's; without names, all of them.
func AddFlags(set *pflag.FlagSet, names ...string) {
	for _, f := range flags {
		if len(names) == 0 || slices.Contains(names, f.name) {
			set.String(f.name, "", f.usage+"; environment "+f.variable)
		}
	}
}

// Load reads the settings from environ, in the form of os.Environ, from those flags of set that were given,
// and from files. What was changed or ignored is told in warnings, which are sentences for the log.
func Load(environ []string, set *pflag.FlagSet) (c Config, warnings []string, err error) {
	c, _, l, err := load(environ, set)
	return c, l.warnings, err
}

func load(environ []string, set *pflag.FlagSet) (c Config, r raw, l *loader, err error) {
	l = newLoader(environ, set)
	if err := env.ParseWithOptions(&r, env.Options{Environment: l.values}); err != nil {
		return Config{}, raw{}, l, errors.New("the environment cannot be read")
	}
	l.unknown()
	c = l.check(&r)
	if len(l.problems) > 0 {
		return Config{}, raw{}, l, &invalid{l.problems}
	}
	return c, r, l, nil
}

// invalid is a configuration with problems.
type invalid struct{ problems []string }

func (e *invalid) Error() string {
	return "the configuration is not valid:\n  - " + strings.Join(e.problems, "\n  - ")
}

// Code returns the code of an argument that is not valid.
func (e *invalid) Code() string { return "invalid_argument" }

// loader collects what is wrong instead of stopping at the first.
type loader struct {
	values   map[string]string // by variable, flags laid over
	given    map[string]string // the flag, or the variable of a file, that a variable's value came from
	file     map[string]bool   // whether it came from .env
	problems []string
	warnings []string
}

// name is what the operator wrote the value as.
func (l *loader) name(variable string) string {
	if flag, ok := l.given[variable]; ok {
		return flag
	}
	return variable
}

func (l *loader) refuse(variable, why string) {
	l.problems = append(l.problems, l.name(variable)+" "+why)
}

func (l *loader) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

// set reports whether a variable is there, be it empty.
func (l *loader) set(variable string) bool {
	_, ok := l.values[variable]
	return ok
}
