package keyring

import (
	"runtime"
	"time"
)

// WithUnlockTimeout sets for how long the KEK is waited for.
func WithUnlockTimeout(d time.Duration) Option { return func(r *Keyring) { r.unlockTimeout = d } }

func collect() { runtime.GC() }
