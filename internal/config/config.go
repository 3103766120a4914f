// Package config reads what the server runs with from its flags, its environment, files that variables name
// and, in development, the file .env; the first of them that gives a value wins. It reads the environment and
// never changes it.
//
// It guarantees that a bad value never starts a server: every one of them is named in one error, each with a
// sentence that says what the variable takes. No value is ever quoted, neither in an error nor in a warning,
// since any of them may be a secret put in the wrong place.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// Config is a server's settings, checked.
type Config struct {
	Listen      string // host:port; port 0 takes a free one
	Data        string // directory of keys, token and, without Redis, the cache
	MinFree     int64  // bytes of its disk that entries leave free
	Environment string // label bound to every key: dev, staging, prod
	Production  bool   // local KEKs, values in the clear and unverified connections are refused
	Unencrypted bool   // values are stored in the clear, for local debugging
	MasterKey   MasterKey

	KMS           KMS
	KDFIterations uint32 // PBKDF2 iterations of a passphrase that is new to Data
	Keys          Keys
	Redis         Redis
	TTL           map[classify.Class]time.Duration // the longest that the cache keeps a class; 0 is for ever
	MaxBody       int64                            // bytes of a request's body

	OIDC    OIDC
	Origins []string       // whose pages may use the API
	Proxies []netip.Prefix // that are believed about a client's address
	Audit   Audit
	Limits  Limits
	Log     Log

	ReadTimeout     time.Duration // a whole request, its body included
	WriteTimeout    time.Duration // a response
	IdleTimeout     time.Duration // a connection between two requests
	RequestTimeout  time.Duration // what the store and the keys take to answer one request
	ShutdownDelay   time.Duration // how long a server that is told to end still takes requests, while /readyz says that it ends
	ShutdownTimeout time.Duration // what requests in flight are given to end
}

// OIDC says whose JWTs are accepted besides API tokens; without an issuer, nobody's.
type OIDC struct {
	Issuer      string
	Audiences   []string
	JWKSURL     string // empty: what the issuer's discovery document says
	TenantClaim string
	ScopesClaim string
}

// Audit is how the audit log is kept.
type Audit struct {
	Context   []string // keys of contexts that it shows
	Sync      audit.SyncPolicy
	MaxSize   int64         // bytes of a file, before another is begun; 0: any number
	MaxAge    time.Duration // of a file, before another is begun; 0: any age
	Keep      int           // earlier files; 0: all
	Budget    int64         // bytes of all files together; 0: any number
	OnFailure audit.FailurePolicy
	Copy      AuditCopy
}

// AuditCopy is where the audit log's lines go as well.
type AuditCopy uint8

// The places.
const (
	NoCopy AuditCopy = iota
	CopyStdout
	CopyRedis // the Redis of the cache
)

// Log is what the server's own log has.
type Log struct {
	Level    slog.Level // and above
	Requests float64    // share of the successful requests that have a line, from 0 to 1
}

// Limits is what a tenant may use, and how often an address may send a wrong token.
type Limits struct {
	Rate        int // requests a second; 0: any number
	Burst       int
	Concurrent  int // requests at the same time; 0: any number
	Bytes       int // that requests of more than 128 KiB hold in memory together; 0: any number
	TenantBytes int // those of one tenant
	Storage     int // bytes that a tenant keeps in the store; 0 means no limit
	Failures    int // wrong tokens a minute before an address has to wait
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
