package keyring

import (
	"runtime"
	"time"
)

// WithUnlockTimeout sets the timeout of an unlock.
func WithUnlockTimeout(d time.Duration) Option { return func(r *Keyring) { r.unlockTimeout = d } }

func collect() { runtime.GC() }
