package keyring

import "time"

// WithLookAnyway sets how often all documents are looked at though the store tells of no change.
func WithLookAnyway(every time.Duration) Option { return func(r *Keyring) { r.anyway = every } }
