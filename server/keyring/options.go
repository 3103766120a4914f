package keyring

import "time"

const (
	// DefaultTTL is the default of [WithTTL].
	DefaultTTL = time.Hour
	// MaxTTL is the longest TTL. It limits how long a process that cannot reach the store uses keys that another
	// process destroyed.
	MaxTTL = 24 * time.Hour
	// DefaultMaxTenants is the default of [WithMaxTenants].
	DefaultMaxTenants = 50_000
	// DefaultConcurrentUnlocks is the default of [WithConcurrentUnlocks].
	DefaultConcurrentUnlocks = 32
	// CheckInterval is how often a keyring checks for changes of other processes.
	CheckInterval = time.Second
	// defaultUnlockTimeout limits an unlock, which many callers may wait for, independently of their own deadlines.
	defaultUnlockTimeout = 30 * time.Second
)

// Option is an option of [Open] and [New].
type Option func(*Keyring)

// WithTTL sets how long keys stay in memory after a KEK last unwrapped them, at most [MaxTTL]. Keys that are in use
// are renewed before.
func WithTTL(ttl time.Duration) Option {
	return func(r *Keyring) { r.ttl = min(ttl, MaxTTL) }
}

// WithMaxTenants sets the number of tenants whose keys may be in memory. Beyond it, the keys of the least recently
// used tenant are dropped.
func WithMaxTenants(n int) Option {
	return func(r *Keyring) { r.maxTenants = max(n, 1) }
}

// WithConcurrentUnlocks sets how many tenants may be unlocked or renewed concurrently. Each of these calls its KEKs.
func WithConcurrentUnlocks(n int) Option {
	return func(r *Keyring) { r.maxUnlocks = int64(max(n, 1)) }
}

// WithMaxUses sets how many packages a tenant may seal and open before its keys are unwrapped again; 0 means no limit.
func WithMaxUses(n int64) Option {
	return func(r *Keyring) { r.maxUses = max(n, 0) }
}
