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
	firstRetry   = 500 * time.Millisecond // before a failed start is tried again
	longestRetry = 15 * time.Second
)

// startupHandler answers requests until the app is open: /livez with 200, and others with 503 and the code of the failure.
type startupHandler struct {
	handler    atomic.Pointer[http.Handler]
	waitingFor atomic.Pointer[codes.Info] // the last failure; nil until the first one
}

// ServeHTTP implements http.Handler.
func (h *startupHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if open := h.handler.Load(); open != nil {
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
	if why := h.waitingFor.Load(); why != nil {
		info = *why
	}
	info.Status, info.Retry = http.StatusServiceUnavailable, true // of any failure: the server tries again
	api.Refuse(w, r, info)
}

func (h *startupHandler) open(handler http.Handler) { h.handler.Store(&handler) }

// isTransient reports whether a failure to start may end without an operator: the KMS or the Redis of the keysets does not answer.
func isTransient(err error) bool {
	return errors.Is(err, kms.ErrUnavailable) || errors.Is(err, kms.ErrThrottled) || errors.Is(err, kms.ErrTimeout) ||
		errors.Is(err, rediskeys.ErrUnreachable) || errors.Is(err, context.DeadlineExceeded)
}

// openAppWithRetry opens the app, and tries again after transient failures. It calls beforeWait before the first wait. If ctx ends, it
// returns nil and no error.
func openAppWithRetry(ctx context.Context, c *config.Config, out io.Writer, startup *startupHandler, beforeWait func() error, log *slog.Logger) (*app, error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstRetry, longestRetry
	for waited := false; ; waited = true {
		a, err := openApp(ctx, c, out, log)
		switch {
		case err == nil && waited:
			log.Info("the server can start now")
			return a, nil
		case err == nil:
			return a, nil
		case ctx.Err() != nil && (waited || errors.Is(err, context.Canceled)):
			return nil, nil
		case !isTransient(err):
			return nil, err
		}
		info := codes.Of(err)
		startup.waitingFor.Store(&info)
		pause := pauses.NextBackOff()
		log.Warn("the server cannot start yet, answers 503 and tries again", "code", info.Code, "seconds", pause.Seconds(), "error", err)
		if !waited {
			if err := beforeWait(); err != nil {
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
