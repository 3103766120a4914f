package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/limit"
)

const headerTimeout = 10 * time.Second // to read the header of a request

// httpServer is an HTTP server that accepts connections.
type httpServer struct {
	*http.Server
	listener    net.Listener
	connections *limit.Connections
	failed      chan error // receives the error that ends Serve
}

// listen accepts connections in a goroutine. The caller closes the server.
func listen(c *config.Config, handler http.Handler, log *slog.Logger) (*httpServer, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, listenError(c.Listen, err)
	}
	r := &httpServer{newHTTPServer(handler, c, log), listener, limit.NewConnections(maxConnections(), log, nil), make(chan error, 1)}
	r.connections.Attach(r.Server)
	go func() { r.failed <- r.Serve(listener) }()
	return r, nil
}

func newHTTPServer(handler http.Handler, c *config.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: min(headerTimeout, c.ReadTimeout),
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.ReadTimeout + c.RequestTimeout + c.WriteTimeout, // net/http starts it at the end of the request's header
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    api.MaxHeader,

		DisableGeneralOptionsHandler: true, // the API answers OPTIONS *
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// run serves until ctx ends, and then for COFFER_SHUTDOWN_DELAY, so that load balancers see that the server is not ready. After that it
// accepts no request and waits for those in flight, for COFFER_SHUTDOWN_TIMEOUT at most.
func (r *httpServer) run(ctx context.Context, c *config.Config, log *slog.Logger) error {
	log.Info("serving", "address", r.listener.Addr().String())
	select {
	case err := <-r.failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("shutting down")
	select {
	case err := <-r.failed:
		return fmt.Errorf("serve: %w", err)
	case <-time.After(c.ShutdownDelay):
	}
	drain, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	if err := r.Shutdown(drain); err != nil {
		_ = r.Close()
		return exitWith(exitFailed, errors.New("requests were still running after COFFER_SHUTDOWN_TIMEOUT and were cut off"))
	}
	log.Info("stopped")
	return nil
}

// maxConnections is three quarters of the files that this process may open.
func maxConnections() int {
	files, err := maxOpenFiles()
	if err != nil {
		return math.MaxInt
	}
	return int(min(files, math.MaxInt32) / 4 * 3)
}

// listenError returns the error of a listener, with the remedy if another program uses the port.
func listenError(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return refusedError(fmt.Errorf("cannot listen: %s is in use by another program: give another address with --listen, such as 127.0.0.1:8081", address))
	}
	return exitWith(exitFailed, fmt.Errorf("cannot listen: %w", err))
}

// ignoreClosed returns nil for the error of closing a closed listener.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
