package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/limit"
	"github.com/coffer-storage/coffer/internal/metrics"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore/sqlitekeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/seal"
)

const (
	connections = 16
	maxBody     = 64 << 20
)

// BenchmarkHTTP compares the service with itself without encryption (ENCRYPTION_ENABLED=false) over the same Redis, which
// shows the cost of encryption. Bare compares it with an Echo server that only checks one token and logs, without tenants,
// limits, audit log, metrics and conditional requests, which shows the cost of all of these. 16 connections write and read
// alternately. The client does not use net/http, so that the servers take most of the time.
func BenchmarkHTTP(b *testing.B) {
	redisServer := redistest.Start(b)
	client := redis.NewClient(&redis.Options{Addr: redisServer.Addr, PoolSize: goroutines, ContextTimeoutEnabled: true})
	b.Cleanup(func() { _ = client.Close() })
	sealing, plain, bare := startService(b, rediskv.New(client)), startService(b, rediskv.New(client), cache.Unencrypted()), startBare(b, client)
	for _, size := range sizes[1:3] {
		value := newValue(size.bytes)
		ours := newLoad(b, sealing, "sealed", value)
		b.Run(size.name, func(b *testing.B) { compareInTurns(b, serverTurn, newLoad(b, plain, "plain", value).run, ours.run) })
		b.Run("Bare"+size.name, func(b *testing.B) { compareInTurns(b, serverTurn, newLoad(b, bare, "bare", value).run, ours.run) })
	}
}

// service is a listening server.
type service struct{ address, bearer string }

// startService starts Coffer, assembled as by `coffer serve`.
func startService(b *testing.B, store kv.Store, options ...cache.Option) service {
	dir := b.TempDir()
	kek, err := kms.NewLocal(make([]byte, 32))
	require.NoError(b, err)
	keys, err := sqlitekeys.Open(filepath.Join(dir, "keys"))
	require.NoError(b, err)
	ring, err := keyring.New(keys, kms.NewSet(kek), "bench")
	require.NoError(b, err)
	b.Cleanup(ring.Close)
	system, err := ring.System(b.Context())
	require.NoError(b, err)
	tokens, err := token.Open(b.Context(), token.Options{Store: keys, System: system, Audit: audit.Discard, Log: newLog()})
	require.NoError(b, err)
	b.Cleanup(tokens.Close)
	bearer, _, err := tokens.CreateFirst(b.Context(), token.Audit{Recorder: audit.Discard})
	require.NoError(b, err)
	handler, err := api.New(api.Options{
		Store: store, Cache: options, Identity: tokens, Audit: openAudit(b, dir), Refusals: audit.NewRefusals(audit.Discard, slog.New(slog.DiscardHandler)), Metrics: metrics.New(api.Operations(), func(string) string { return "x" }),
		Keys:   func(ctx context.Context, id string) (seal.Keys, error) { return ring.Tenant(ctx, id) },
		Limits: limit.NewTenants(limit.Quota{}, nil), Memory: limit.NewMemory(0, 0), Failures: limit.NewFailures(10, nil), Log: newLog(), LogShare: 1,
		Demo: fstest.MapFS{}, MaxBody: maxBody, Timeout: 15 * time.Second,
	})
	require.NoError(b, err)
	s := service{listen(b, handler), bearer}
	return s
}

func openAudit(b *testing.B, dir string) audit.Recorder {
	key := audit.NewKey(new(secret.Key))
	log, err := audit.Open(filepath.Join(dir, "audit"), key, audit.Options{Log: newLog()})
	require.NoError(b, err)
	b.Cleanup(func() { _ = log.Close() })
	return log
}

func newLog() *slog.Logger { return slog.New(slog.NewJSONHandler(io.Discard, nil)) }

func listen(b *testing.B, handler http.Handler) string {
	server := httptest.NewServer(handler)
	b.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// startBare starts a minimal server without Coffer.
func startBare(b *testing.B, client redis.UniversalClient) service {
	bearer := "a token of forty-three characters or so, too"
	hash, log := sha256.Sum256([]byte(bearer)), newLog()
	e := echo.New()
	e.Use(middleware.RequestID(), middleware.BodyLimit("64M"), middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		LogStatus: true, LogMethod: true, LogRoutePath: true, LogLatency: true, LogRequestID: true, LogContentLength: true, LogResponseSize: true,
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			log.LogAttrs(c.Request().Context(), slog.LevelInfo, "request", slog.String("id", v.RequestID), slog.String("method", v.Method),
				slog.String("route", v.RoutePath), slog.Int("status", v.Status), slog.String("received", v.ContentLength),
				slog.Int64("sent", v.ResponseSize), slog.Duration("took", v.Latency))
			return nil
		},
	}), func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			given := sha256.Sum256([]byte(strings.TrimPrefix(c.Request().Header.Get("Authorization"), "Bearer ")))
			if subtle.ConstantTimeCompare(given[:], hash[:]) != 1 {
				return echo.ErrUnauthorized
			}
			return next(c)
		}
	})
	e.PUT("/v1/cache/*", func(c echo.Context) error {
		value, err := io.ReadAll(c.Request().Body)
		if err != nil {
			return err
		}
		if err := client.Set(c.Request().Context(), "plain/"+c.Param("*"), value, ttl).Err(); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	e.GET("/v1/cache/*", func(c echo.Context) error {
		value, err := client.Get(c.Request().Context(), "plain/"+c.Param("*")).Bytes()
		if err != nil {
			return err
		}
		c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(value)))
		return c.Blob(http.StatusOK, echo.MIMEOctetStream, value)
	})
	return service{listen(b, e), bearer}
}

// load writes and reads entries. Each connection uses its own entry.
type load []*wire

type wire struct {
	conn     net.Conn
	in       *bufio.Reader
	put, get []byte // whole requests
}

func newLoad(b *testing.B, s service, prefix string, value []byte) load {
	all := make(load, connections)
	for i := range all {
		conn, err := net.Dial("tcp", s.address)
		require.NoError(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		head := fmt.Sprintf("/v1/cache/%s%d%%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", prefix, i, s.address, s.bearer)
		all[i] = &wire{
			conn: conn, in: bufio.NewReaderSize(conn, 128<<10),
			put: fmt.Appendf(nil, "PUT "+head+"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", "?class=phi&ttl=1h", len(value), value),
			get: fmt.Appendf(nil, "GET "+head+"\r\n", ""),
		}
	}
	return all
}

// run performs n writes and n reads.
func (l load) run(n int) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(l))
	for i, w := range l {
		wg.Go(func() {
			for j := i; j < n; j += len(l) {
				if err := w.putGet(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func (w *wire) putGet() error {
	if err := w.send(w.put, http.StatusNoContent); err != nil {
		return err
	}
	return w.send(w.get, http.StatusOK)
}

func (w *wire) send(request []byte, want int) error {
	if _, err := w.conn.Write(request); err != nil {
		return err
	}
	if status, err := w.receive(); err != nil || status != want {
		return fmt.Errorf("status %d, want %d: %w", status, want, err)
	}
	return nil
}

// receive reads a response and returns its status.
func (w *wire) receive() (status int, err error) {
	length := 0
	for {
		line, err := w.in.ReadSlice('\n')
		switch {
		case err != nil:
			return 0, err
		case status == 0:
			status, err = strconv.Atoi(string(line[len("HTTP/1.1 "):][:3]))
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len("Content-Length: "):])))
		case len(line) == len("\r\n"):
			_, err = w.in.Discard(length)
			return status, err
		}
		if err != nil {
			return 0, err
		}
	}
}
