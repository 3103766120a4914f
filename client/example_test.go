package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"github.com/coffer-storage/coffer/client"
	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/server/seal"
	"github.com/coffer-storage/coffer/shared/classify"
)

func Example() {
	baseURL, bearerToken, stop := startServer()
	defer stop()

	c, err := client.New(baseURL, client.WithToken(bearerToken))
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	stored, err := c.Set(ctx, "patient:P12345", []byte(`{"ssn":"123-45-6789"}`), classify.PHI, client.TTL(time.Hour))
	if err != nil {
		panic(err)
	}
	fmt.Println("expires after", stored.TTL)

	entry, err := c.Get(ctx, "patient:P12345", client.MinClass(classify.PHI))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s is %s\n", entry.Value, entry.Class)

	_, err = c.Get(ctx, "patient:none")
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// expires after 1h0m0s
	// {"ssn":"123-45-6789"} is phi
	// true
}

func ExampleClient_Batch() {
	baseURL, bearerToken, stop := startServer()
	defer stop()

	c, err := client.New(baseURL, client.WithToken(bearerToken))
	if err != nil {
		panic(err)
	}
	results, err := c.Batch(context.Background(), []client.Operation{
		client.SetOperation("a", []byte("value"), classify.PII, time.Hour, nil),
		client.GetOperation("a", classify.PII),
		client.GetOperation("b", 0),
		client.DeleteOperation("a"),
	})
	if err != nil {
		panic(err) // no operation was run, or the response was lost
	}
	for i, result := range results {
		fmt.Printf("%d: %q, not found: %t\n", i, result.Entry.Value, errors.Is(result.Err, client.ErrNotFound))
	}
	// Output:
	// 0: "", not found: false
	// 1: "value", not found: false
	// 2: "", not found: true
	// 3: "", not found: false
}

func ExampleClient_CreateSession() {
	baseURL, bearerToken, stop := startServer()
	defer stop()

	c, err := client.New(baseURL, client.WithToken(bearerToken))
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	session, err := c.CreateSession(ctx, map[string]string{"user": "user_123"}, 30*time.Minute)
	if err != nil {
		panic(err)
	}
	// Give session.ID to the user, for example in a cookie. It is as secret as a password.

	found, err := c.GetSession(ctx, session.ID)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", found.Data)

	if err := c.EndSession(ctx, session.ID); err != nil {
		panic(err)
	}
	_, err = c.GetSession(ctx, session.ID)
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// {"user":"user_123"}
	// true
}

// startServer starts a server with the embedded store and returns its URL and a token.
func startServer() (baseURL, bearerToken string, stop func()) {
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "coffer"))
	store := must(sqlitekv.Open(filepath.Join(dir, "store"), nil))
	check(kms.CreateFile(filepath.Join(dir, "master.key")))
	kek := must(kms.OpenFile(filepath.Join(dir, "master.key")))
	keys := keystoretest.NewMemory()
	ring := must(keyring.New(keys, kms.NewSet(kek), "example"))
	log := slog.New(slog.DiscardHandler)
	tokens := must(token.Open(ctx, token.Options{Store: keys, System: must(ring.System(ctx)), Audit: audit.Discard, Log: log}))
	bearerToken, _, err := tokens.CreateFirst(ctx, token.Audit{Recorder: audit.Discard})
	check(err)
	server := httptest.NewServer(must(api.New(api.Options{
		Store: store, Keyring: ring, Identity: tokens, Audit: audit.Discard, Log: log, Demo: fstest.MapFS{},
		Keys:     func(ctx context.Context, tenant string) (seal.Keys, error) { return ring.Tenant(ctx, tenant) },
		Refusals: audit.NewRefusals(audit.Discard, log), Metrics: metrics.New(api.Operations(), func(string) string { return "" }),
		Limits: limit.NewTenants(limit.Quota{}, nil), Failures: limit.NewFailures(0, nil), MaxBody: 1 << 20, Timeout: time.Minute,
	})))
	return server.URL, bearerToken, func() {
		server.Close()
		tokens.Close()
		ring.Close()
		check(store.Close())
		check(os.RemoveAll(dir))
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
