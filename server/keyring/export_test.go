package keyring

import "time"

// WithLookAnyway sets how often all documents are looked at though the store tells of no change.
func WithLookAnyway(every time.Duration) Option { return func(r *Keyring) { r.anyway = every } }

// WithPatience sets for how long the KEK is waited for.
func WithPatience(d time.Duration) Option { return func(r *Keyring) { r.patience = d } }
