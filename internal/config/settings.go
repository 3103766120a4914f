package config

import (
	"iter"
	"math"
	"time"

	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// setting is one row of the table of settings. The environment variables, the flags, the help and .env.example are made from it.
type setting struct {
	name    string // of the environment variable
	flag    string // without its hyphens; empty for a setting without a flag
	initial string // the default; empty for none
	usage   string // one sentence without a full stop
	kind    kind
}

// group is a part of the table under one title.
type group struct {
	title    string
	settings []setting
}

// table is all settings, in the order in which they are parsed and printed.
type table []group

// newTable returns the table whose settings are parsed into c. A new setting is one row here and one field of Config.
//
// A secret has no flag, because every user of a host can read the arguments of a process. It can be given as the path of a file
// instead, in the variable with _FILE after its name.
func newTable(c *Config) table {
	return table{
		{"The server", []setting{
			{"COFFER_LISTEN", "listen", "127.0.0.1:8080", "address to listen on, host:port; port 0 takes a free one",
				checked(&c.Listen, isListenAddress, "must be host:port, such as 127.0.0.1:8080; port 0 takes a free one")},
			{"COFFER_DATA", "data", "coffer-data", "directory of the keys, the audit log and, without Redis, the cache",
				checked(&c.Data, isPath, "must be the path of a directory")},
			{"COFFER_ENVIRONMENT", "environment", development, "label bound to every key, such as dev, staging or prod",
				checked(&c.Environment, environmentLabel.MatchString, "must be a label of 1 to 64 lower-case letters, digits and hyphens, such as dev, staging or prod")},
			{"COFFER_PRODUCTION", "production", "", "true refuses a local KEK, values in the clear and unverified connections; true by default unless the environment is dev",
				boolean(&c.Production)},
			{"COFFER_MAX_BODY", "max-body", "67108864", "largest body of a request in bytes", whole(&c.MaxBody, 1, format.MaxValue)},
			{"COFFER_READ_TIMEOUT", "read-timeout", "2m", "time to read a request", timeout(&c.ReadTimeout)},
			{"COFFER_WRITE_TIMEOUT", "write-timeout", "2m", "time to write a response", timeout(&c.WriteTimeout)},
			{"COFFER_IDLE_TIMEOUT", "idle-timeout", "2m", "how long an unused connection stays open", timeout(&c.IdleTimeout)},
			{"COFFER_REQUEST_TIMEOUT", "request-timeout", "15s", "time that the store and the keys may take for a request", timeout(&c.RequestTimeout)},
			{"COFFER_SHUTDOWN_DELAY", "shutdown-delay", "0s", "how long a server that shuts down accepts requests while /readyz fails, so that load balancers notice",
				span(&c.ShutdownDelay, 0, maxDelay, "up to 5m, such as 5s; 0s means no delay")},
			{"COFFER_SHUTDOWN_TIMEOUT", "shutdown-timeout", "30s", "how long a server that shuts down waits for requests in flight", timeout(&c.ShutdownTimeout)},
			{"COFFER_LOG_LEVEL", "log-level", "info", "lowest level of the server's log: debug, info, warn or error", logLevel(&c.Log.Level)},
			{"COFFER_LOG_REQUESTS", "log-requests", "all",
				"which successful requests are logged: all, none, or a share such as 0.01; errors and refusals are always logged", requestShare(&c.Log.Requests)},
		}},
		{"The master key, if no KMS is configured; without one, a key is made in the data directory", []setting{
			{masterKeyVariable, "", "", "32 random bytes in base64 (openssl rand -base64 32)", secretByName},
			{passphraseVariable, "", "", "a passphrase of at least 8 characters, instead of a key", secretByName},
			{masterKeyCommand, "", "", "a program with its arguments that prints the key; it is run without a shell and cannot be set in .env", byName},
			{passphraseCommand, "", "", "a program with its arguments that prints the passphrase, likewise", byName},
			{"GENERAL_ENCRYPTION_KEY", "", "", "another name of ENCRYPTION_MASTER_KEY", secretByName},
			{"GENERAL_ENCRYPTION_PASSPHRASE", "", "", "another name of ENCRYPTION_PASSPHRASE", secretByName},
			{"PII_ENCRYPTION_KEY", "", "", "a master key for the class pii alone", secretByName},
			{"PII_ENCRYPTION_PASSPHRASE", "", "", "a passphrase for the class pii alone", secretByName},
			{"PHI_ENCRYPTION_KEY", "", "", "a master key for the class phi alone", secretByName},
			{"PHI_ENCRYPTION_PASSPHRASE", "", "", "a passphrase for the class phi alone", secretByName},
			{"KDF_ITERATIONS", "", "600000", "PBKDF2 iterations of a passphrase, at least 600000", iterations(&c.KDFIterations)},
			{"ENCRYPTION_ALGORITHM", "", "AES-256-GCM", "AES-256-GCM, the only algorithm", algorithm()},
			{"ENCRYPTION_ENABLED", "", "true", "false stores values in the clear, for local debugging; refused in production", negated(&c.Unencrypted)},
		}},
		{"The KMS that wraps the keys, as production needs one", []setting{
			{"KMS_PROVIDER", "", "local", "local (a master key), aws, azure, gcp or vault", byName},
			{"COFFER_KEK", "", "", "URL of the key in the KMS, instead of KMS_PROVIDER", secretByName},
			{"AWS_REGION", "", "", "region of the key in AWS KMS", byName},
			{"AWS_KMS_KEY_ID", "", "", "id, ARN or alias/NAME of the key in AWS KMS", byName},
			{"AWS_ACCESS_KEY_ID", "", "", "credentials of AWS; without them the SDK finds some, such as the machine's role", secret(&c.KMS.AWS.AccessKeyID)},
			{"AWS_SECRET_ACCESS_KEY", "", "", "the secret of AWS_ACCESS_KEY_ID", secret(&c.KMS.AWS.SecretAccessKey)},
			{"AWS_SESSION_TOKEN", "", "", "the session token of temporary AWS credentials", secret(&c.KMS.AWS.SessionToken)},
			{"AZURE_KEY_VAULT_URL", "", "", "URL of the vault, such as https://NAME.vault.azure.net", byName},
			{"AZURE_KEY_NAME", "", "", "name of the key in the vault", byName},
			{"AZURE_TENANT_ID", "", "", "tenant of the identity", plain(&c.KMS.Azure.TenantID)},
			{"AZURE_CLIENT_ID", "", "", "client of the identity", plain(&c.KMS.Azure.ClientID)},
			{"AZURE_CLIENT_SECRET", "", "", "secret of the client; without it the SDK finds a workload's or a managed identity", secret(&c.KMS.Azure.ClientSecret)},
			{"GOOGLE_APPLICATION_CREDENTIALS", "", "", "path of a file with credentials; without it the SDK finds the machine's service account",
				plain(&c.KMS.Google.Credentials)},
			{"GCP_PROJECT_ID", "", "", "project of the key ring", byName},
			{"GCP_LOCATION", "", "", "location of the key ring", byName},
			{"GCP_KEY_RING", "", "", "name of the key ring", byName},
			{"GCP_KEY_NAME", "", "", "name of the key in the key ring", byName},
			{"VAULT_ADDR", "", "", "URL of Vault or OpenBao", plain(&c.KMS.Vault.Address)},
			{"VAULT_TOKEN", "", "", "token for Vault; a changed VAULT_TOKEN_FILE is read again", secret(&c.KMS.Vault.Token)},
			{"VAULT_KEY_NAME", "", "coffer", "name of the key in the transit engine", byName},
		}},
		{"The keys", []setting{
			{"COFFER_KEYS_REDIS_URL", "", "", "URL of a Redis that persists, for the keysets of servers on several hosts; they are in the data directory otherwise",
				secret(&c.Keys.Redis)},
			{"COFFER_KEY_CACHE_TTL", "key-cache-ttl", "1h", "how long keys stay in memory, and are used without the KMS, after it unwrapped them",
				span(&c.Keys.TTL, time.Minute, keyring.MaxTTL, "from 1m to 1d")},
			{"COFFER_KEY_CACHE_USES", "key-cache-uses", "0", "packages of a tenant after which the KMS must unwrap its keys again; 0 means any number",
				whole(&c.Keys.Uses, 0, math.MaxInt)},
			{"COFFER_KEY_CACHE_TENANTS", "key-cache-tenants", "50000", "largest number of tenants whose keys are in memory", whole(&c.Keys.Tenants, 1, maxLimit)},
			{"COFFER_KMS_CALLS", "kms-calls", "32", "largest number of concurrent calls of the KMS", whole(&c.Keys.Calls, 1, maxCalls)},
			{"KEY_ROTATION_DAYS", "key-rotation-days", "90", "age in days at which a tenant's keys are rotated; 0 means never", days(&c.Keys.RotateAge, maxRotationDays)},
			{"KEY_ROTATION_USES", "key-rotation-uses", "0", "packages after which a key is rotated; 0 means any number", whole(&c.Keys.RotateUses, 0, math.MaxInt)},
			{"COFFER_KEY_GRACE", "key-grace", "24h", "how long former keys of the cache are kept after its entries were re-encrypted",
				span(&c.Keys.Grace, 0, maxTTL, "from 0s to 3650d, such as 24h or 7d")},
			{"COFFER_REENCRYPT_RATE", "reencrypt-rate", "1000", "entries that a rotation re-encrypts in a second; 0 means no limit", whole(&c.Keys.Rate, 0, maxLimit)},
		}},
		{"Longest, and default, time in the cache of each class, such as 12h or 7d", []setting{
			{"COFFER_TTL_PUBLIC", "", "none", "for public values; none means no limit", classTTL(c.TTL, classify.Public)},
			{"COFFER_TTL_INTERNAL", "", "30d", "for internal values", classTTL(c.TTL, classify.Internal)},
			{"COFFER_TTL_CONFIDENTIAL", "", "24h", "for confidential values", classTTL(c.TTL, classify.Confidential)},
			{"COFFER_TTL_PII", "", "7d", "for pii values", classTTL(c.TTL, classify.PII)},
			{"COFFER_TTL_PHI", "", "24h", "for phi values", classTTL(c.TTL, classify.PHI)},
		}},
		{"Redis for the cache: a URL, a host, Sentinels or a Cluster; without them the cache is in the data directory", []setting{
			{"REDIS_URL", "", "", "redis://user:password@host:port/database, or rediss:// for TLS", secret(&c.Redis.URL)},
			{"REDIS_HOST", "", "", "host of one Redis",
				checked(&c.Redis.Host, isHost, "must be a host name or an address, without scheme and port")},
			{"REDIS_PORT", "", "", "port of REDIS_HOST; 6379 by default", whole(&c.Redis.Port, 1, math.MaxUint16)},
			{"REDIS_USERNAME", "", "", "user, if not the default one", plain(&c.Redis.Username)},
			{"REDIS_PASSWORD", "", "", "password of the user", secret(&c.Redis.Password)},
			{"REDIS_DB", "", "", "number of the database; 0 by default", whole(&c.Redis.DB, 0, math.MaxInt32)},
			{"REDIS_TLS", "", "", "true connects with TLS", boolean(&c.Redis.TLS)},
			{"REDIS_SENTINEL_ADDRS", "", "", "Sentinels as host:port, separated by commas", checkedList(&c.Redis.Sentinels, isServerAddress, badServers)},
			{"REDIS_MASTER_NAME", "", "", "name of the master at the Sentinels", plain(&c.Redis.Master)},
			{"REDIS_SENTINEL_PASSWORD", "", "", "password of the Sentinels", secret(&c.Redis.SentinelPassword)},
			{"REDIS_CLUSTER_ADDRS", "", "", "some servers of a Cluster as host:port, separated by commas", checkedList(&c.Redis.Cluster, isServerAddress, badServers)},
		}},
		{"Access", []setting{
			{"COFFER_OIDC_ISSUER", "oidc-issuer", "", "URL of the OpenID Connect provider whose JWTs are accepted besides API tokens", plain(&c.OIDC.Issuer)},
			{"COFFER_OIDC_AUDIENCE", "oidc-audience", "", "audiences of accepted JWTs, separated by commas", list(&c.OIDC.Audiences)},
			{"COFFER_OIDC_JWKS_URL", "oidc-jwks-url", "", "URL of the provider's keys; its discovery document names it by default", plain(&c.OIDC.JWKSURL)},
			{"COFFER_OIDC_TENANT_CLAIM", "oidc-tenant-claim", "tenant", "claim, or JSON pointer, that names the tenant", plain(&c.OIDC.TenantClaim)},
			{"COFFER_OIDC_SCOPES_CLAIM", "oidc-scopes-claim", "scope", "claim, or JSON pointer, that names the scopes", plain(&c.OIDC.ScopesClaim)},
			{"COFFER_CORS_ORIGINS", "cors-origins", "", "origins whose pages may use the API, separated by commas",
				checkedList(&c.Origins, isOrigin, "must be origins as browsers send them, such as https://app.example.com, separated by commas: without a path, a default port or letters beyond ASCII")},
			{"COFFER_TRUSTED_PROXIES", "trusted-proxies", "", "networks of proxies whose X-Forwarded-For is believed, separated by commas", proxies(&c.Proxies)},
		}},
		{"The audit log", []setting{
			{"COFFER_AUDIT_CONTEXT", "audit-context", "", "keys of contexts that the audit log shows, separated by commas; their values must not identify a person", list(&c.Audit.Context)},
			{"COFFER_AUDIT_SYNC", "audit-sync", "notable", "which events of the audit log are on the disk before their request is answered: all, notable (all but ordinary use) or later",
				choice(&c.Audit.Sync, []string{"all", "notable", "later"}, []audit.SyncPolicy{audit.SyncAll, audit.SyncNotable, audit.SyncLater})},
			{"COFFER_AUDIT_ON_FAILURE", "audit-on-failure", "stop", "what a server does while it cannot write the audit log: stop (refuse requests) or continue",
				choice(&c.Audit.OnFailure, []string{"stop", "continue"}, []audit.FailurePolicy{audit.Refuse, audit.Continue})},
			{"COFFER_AUDIT_COPY", "audit-copy", "", "where else the lines of the audit log are written: stdout, or redis for the stream coffer:audit of the cache's Redis",
				choice(&c.Audit.Copy, []string{"stdout", "redis"}, []AuditCopy{CopyStdout, CopyRedis})},
			{"COFFER_AUDIT_MAX_SIZE", "audit-max-size", "268435456", "size in bytes at which another file of the audit log is begun; 0 means any size", whole(&c.Audit.MaxSize, 0, math.MaxInt)},
			{"COFFER_AUDIT_MAX_AGE", "audit-max-age", "none", "age at which another file of the audit log is begun, such as 24h or 30d",
				or("none", span(&c.Audit.MaxAge, time.Minute, maxTTL, "from 1m to 3650d, such as 24h or 30d"))},
			{"COFFER_AUDIT_KEEP", "audit-keep", "all", "number of earlier files of the audit log that are kept; older ones are deleted", or("all", whole(&c.Audit.Keep, 1, maxLimit))},
			{"COFFER_AUDIT_BUDGET", "audit-budget", "34359738368",
				"size in bytes of the whole audit log, beyond which no key is used and no refusal recorded; the server warns at 80 %; 0 means any size",
				whole(&c.Audit.Budget, 0, math.MaxInt)},
		}},
		{"Limits", []setting{
			{"COFFER_RATE", "rate", "0",
				"requests of a tenant in a second, of which each operation of a batch, 16 KiB of a value, 25 keys of a list and 100 lines of the audit log count as one; 0 means any number",
				whole(&c.Limits.Rate, 0, maxLimit)},
			{"COFFER_BURST", "burst", "100", "requests that an idle tenant may make at once", whole(&c.Limits.Burst, 1, maxLimit)},
			{"COFFER_CONCURRENT", "concurrent", "0", "concurrent requests of a tenant; 0 means any number", whole(&c.Limits.Concurrent, 0, maxLimit)},
			{"COFFER_BYTES", "bytes", "536870912", "bytes of memory for all requests of more than 128 KiB; 0 means any number", whole(&c.Limits.Bytes, 0, math.MaxInt)},
			{"COFFER_TENANT_BYTES", "tenant-bytes", "268435456", "bytes of memory for the requests of one tenant of more than 128 KiB", whole(&c.Limits.TenantBytes, 0, math.MaxInt)},
			{"COFFER_TENANT_STORAGE", "tenant-storage", "0", "bytes of a tenant's entries and sessions in the store; 0 means any number", whole(&c.Limits.Storage, 0, math.MaxInt)},
			{"COFFER_MIN_FREE", "min-free", "268435456", "bytes of the data directory's disk that entries leave free for the audit log and the keys",
				whole(&c.MinFree, sqlitekv.MinFreeSpace, math.MaxInt)},
			{"COFFER_TOKEN_FAILURES", "token-failures", "10", "wrong tokens in a minute after which an address must wait", whole(&c.Limits.Failures, 0, maxLimit)},
		}},
	}
}

const badServers = "must be host:port, several separated by commas"

const (
	maxDelay        = 5 * time.Minute
	maxTTL          = 3650 * duration.Day
	maxLimit        = 1_000_000
	maxCalls        = 10_000
	maxRotationDays = 3650
)

// all yields every setting.
func (t table) all() iter.Seq[*setting] {
	return func(yield func(*setting) bool) {
		for _, g := range t {
			for i := range g.settings {
				if !yield(&g.settings[i]) {
					return
				}
			}
		}
	}
}

// find returns the setting of a variable; nil if there is none. The variable of a secret's file is not a setting.
func (t table) find(variable string) *setting {
	for s := range t.all() {
		if s.name == variable {
			return s
		}
	}
	return nil
}

// isSecret reports whether a variable is that of a secret.
func (t table) isSecret(variable string) bool {
	s := t.find(variable)
	return s != nil && s.kind.secret
}

// variables returns the variables of all settings, and those of the files of secrets.
func (t table) variables() (names []string) {
	for s := range t.all() {
		if names = append(names, s.name); s.kind.secret {
			names = append(names, s.name+fileSuffix)
		}
	}
	return names
}
