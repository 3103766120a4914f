// Package config reads the server's settings from flags, the environment, files that variables name and, in development, the file .env.
// The first of them that has a value wins. The package never changes the environment of the process.
//
// A value that is not valid is an error, which names all such settings and states for each which values it accepts. No error and no
// warning quotes a value: any value may be a secret in the wrong place.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Config is the checked settings of a server.
type Config struct {
	Listen      string // host:port; port 0 takes a free one
	Data        string // directory of the keys, the audit log and, without Redis, the cache
	MinFree     int64  // bytes of its disk that entries leave free
	Environment string // label bound to every key: dev, staging, prod
	Production  bool   // refuses local KEKs, values in the clear and unverified connections
	Unencrypted bool   // stores values in the clear, for local debugging
	MasterKey   MasterKey

	KMS           KMS
	KDFIterations uint32 // PBKDF2 iterations of a passphrase that is new to Data
	Keys          Keys
	Redis         Redis
	TTL           map[classify.Class]time.Duration // the longest time in the cache; 0 means no limit
	MaxBody       int64                            // bytes of a request's body

	OIDC    OIDC
	Origins []string       // origins of pages that may use the API
	Proxies []netip.Prefix // networks of proxies whose X-Forwarded-For is believed
	Audit   Audit
	Limits  Limits
	Log     Log

	ReadTimeout     time.Duration // to read a whole request
	WriteTimeout    time.Duration // to write a response
	IdleTimeout     time.Duration // of a connection between two requests
	RequestTimeout  time.Duration // for the store and the keys to answer a request
	ShutdownDelay   time.Duration // how long a server that shuts down accepts requests while /readyz fails
	ShutdownTimeout time.Duration // how long a server that shuts down waits for requests in flight
}

// Keys is how keysets are stored and used.
type Keys struct {
	Redis Secret        // URL of the Redis that stores them; empty: they are in the data directory
	TTL   time.Duration // how long keys stay in memory after the KMS last unwrapped them
	Uses  int           // packages of a tenant after which the KMS must unwrap its keys again; 0 means any number

	Tenants int // largest number of tenants whose keys are in memory
	Calls   int // largest number of concurrent calls of the KMS

	RotateAge  time.Duration // age of a keyset's newest key at which it gets a new primary; 0 means never
	RotateUses int           // packages that a primary seals before it is replaced; 0 means any number
	Grace      time.Duration // how long former keys of the cache are kept after its entries were re-encrypted
	Rate       int           // entries that a rotation re-encrypts in a second; 0 means no limit
}

// Open returns a store over the Redis of the keysets. It does not connect. The caller closes the store.
func (k *Keys) Open() (*rediskv.Store, error) { return rediskv.Open(string(k.Redis)) }

// OIDC is the identity provider whose JWTs are accepted besides API tokens. Without an issuer, no JWT is accepted.
type OIDC struct {
	Issuer      string
	Audiences   []string
	JWKSURL     string // empty: the issuer's discovery document names it
	TenantClaim string
	ScopesClaim string
}

// Audit is how the audit log is written.
type Audit struct {
	Context   []string // keys of contexts that it shows
	Sync      audit.SyncPolicy
	MaxSize   int64         // bytes of a file at which another one is begun; 0 means any size
	MaxAge    time.Duration // of a file at which another one is begun; 0 means any age
	Keep      int           // number of earlier files; 0 means all
	Budget    int64         // bytes of all files together; 0 means any size
	OnFailure audit.FailurePolicy
	Copy      AuditCopy
}

// AuditCopy is where the lines of the audit log are written besides its files.
type AuditCopy uint8

// The values of AuditCopy.
const (
	NoCopy     AuditCopy = iota
	CopyStdout           // standard output
	CopyRedis            // a stream in the Redis of the cache
)

// Log is how the server writes its own log.
type Log struct {
	Level    slog.Level // the lowest level that is written
	Requests float64    // share of the successful requests that are logged, from 0 to 1
}

// Limits are the limits of a tenant, and of an address that sends wrong tokens.
type Limits struct {
	Rate        int // requests a second; 0 means any number
	Burst       int // requests that an idle tenant may make at once
	Concurrent  int // concurrent requests; 0 means any number
	Bytes       int // of memory for all requests of more than 128 KiB; 0 means any number
	TenantBytes int // of memory for the requests of one tenant of more than 128 KiB
	Storage     int // bytes of a tenant's entries in the store; 0 means any number
	Failures    int // wrong tokens a minute after which an address must wait
}

// Secret is text that no log and no format verb shows.
type Secret string

const hidden = "[secret]"

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
