package kms

import (
	"context"
	"log/slog"
	"sync"
)

// CredentialRenewer is an optional interface of a Driver whose credentials expire unless this process renews them, such
// as a token of Vault. The SDKs of the other KMSs renew theirs.
type CredentialRenewer interface {
	Driver
	// RenewCredentials renews the credentials until ctx ends. It writes failures to log, without any secret.
	RenewCredentials(ctx context.Context, log *slog.Logger)
	// DescribeCredentials describes for people how long the credentials are valid, without any secret. It is empty if
	// that is unknown.
	DescribeCredentials(ctx context.Context) string
}

// RenewCredentials renews the credentials of the KEKs until ctx ends. It returns at once if no KEK needs it, and
// otherwise when ctx ends, so a server calls it in a goroutine of its own. A short program does not need it. It writes
// failures to log, without any secret.
//
// A KEK that wraps another KEK forwards it by a method RenewCredentials(context.Context, *slog.Logger).
func RenewCredentials(ctx context.Context, log *slog.Logger, keks ...KEK) {
	var wg sync.WaitGroup
	for _, kek := range keks {
		if r, ok := kek.(interface {
			RenewCredentials(ctx context.Context, log *slog.Logger)
		}); ok {
			wg.Go(func() { r.RenewCredentials(ctx, log) })
		}
	}
	wg.Wait()
}

// RenewCredentials renews the credentials of this KEK until ctx ends; see the function RenewCredentials.
func (r *Remote) RenewCredentials(ctx context.Context, log *slog.Logger) {
	if d, ok := r.driver.(CredentialRenewer); ok {
		d.RenewCredentials(ctx, log)
	}
}
