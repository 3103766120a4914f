package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
)

const (
	firstRetry   = 500 * time.Millisecond // after which a start is tried again that waits for the KMS
	longestRetry = 15 * time.Second
)

// gate answers requests until the server is open: /livez with 200, and all others with the code of the failure that it waits for.
type startupHandler struct {
	handler    atomic.Pointer[http.Handler]
	waitingFor atomic.Pointer[codes.Info] // nil: it is about to open
}

// ServeHTTP implements http.Handler.
func (g *startupHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if open := g.handler.Load(); open != nil {
		(*open).ServeHTTP(w, r)
		return
	}
	if r.URL.Path == "/livez" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{\"status\":\"ok\"}\n")
		return
	}
	info := codes.Of(keystore.ErrUnavailable)
	if why := g.waitingFor.Load(); why != nil {
		info = *why
	}
	info.Status, info.Retry = http.StatusServiceUnavailable, true // whatever it is, the server waits for its end
	api.Refuse(w, r, info)
}

func (g *startupHandler) open(handler http.Handler) { g.handler.Store(&handler) }

// passing reports whether a failure to start may pass without an operator: the KMS or the Redis of the keysets does not answer.
func isTransient(err error) bool {
	return errors.Is(err, kms.ErrUnavailable) || errors.Is(err, kms.ErrThrottled) || errors.Is(err, kms.ErrTimeout) ||
		errors.Is(err, rediskeys.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded)
}

// openWhenPossible opens the parts, and tries again while what is missing may come back. waiting is called before the first wait. It
// returns no parts and no error if ctx ends in the meantime.
func openAppWithRetry(ctx context.Context, c *config.Config, out io.Writer, g *startupHandler, waiting func() error, log *slog.Logger) (*app, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstRetry, longestRetry
	for waited := false; ; waited = true {
		p, err := openApp(ctx, c, out, log)
		switch {
		case err == nil && waited:
			log.Info("the server can start now")
			return p, nil
		case err == nil:
			return p, nil
		case ctx.Err() != nil && (waited || errors.Is(err, context.Canceled)):
			return nil, nil
		case !isTransient(err):
			return nil, err
		}
		info := codes.Of(err)
		g.waitingFor.Store(&info)
		pause := pauses.NextBackOff()
		log.Warn("the server cannot start yet, answers 503 and tries again", "code", info.Code, "seconds", pause.Seconds(), "error", err)
		if !waited {
			if err := waiting(); err != nil {
				return nil, err
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil
		}
	}
}
