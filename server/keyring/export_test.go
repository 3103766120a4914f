package keyring

import (
	"runtime"
	"time"
)

// WithPatience sets for how long the KEK is waited for.
func WithPatience(d time.Duration) Option { return func(r *Keyring) { r.patience = d } }

func collect() { runtime.GC() }
