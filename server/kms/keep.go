package kms

import (
	"context"
	"log/slog"
	"sync"
)

// Keeper is a Driver whose credentials end unless somebody renews them. Those of other KMSs are renewed by
// their SDKs, or have no end.
type Keeper interface {
	Driver
	// Keep renews the credentials until ctx ends, and tells the log, without any secret, where it cannot.
	Keep(ctx context.Context, log *slog.Logger)
	// Credentials says for how long they live, for people, without any secret.
	Credentials(ctx context.Context) string
}

// Keep keeps the credentials of KEKs alive until ctx ends, and returns then, or at once where none of them
// needs it. A program that serves has it run beside; one that ends soon does not need it.
func Keep(ctx context.Context, log *slog.Logger, keks ...KEK) {
	var wg sync.WaitGroup
	for _, kek := range keks {
		if k, ok := kek.(interface {
			Keep(ctx context.Context, log *slog.Logger)
		}); ok {
			wg.Go(func() { k.Keep(ctx, log) })
		}
	}
	wg.Wait()
}

// Keep is Keep of package kms for this KEK.
func (r *Remote) Keep(ctx context.Context, log *slog.Logger) {
	if k, ok := r.driver.(Keeper); ok {
		k.Keep(ctx, log)
	}
}
