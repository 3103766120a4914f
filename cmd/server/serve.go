package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kms"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the encrypted cache and the demo over HTTP",
		Long: "Serves until SIGTERM, SIGINT or SIGHUP. Then /readyz fails. After COFFER_SHUTDOWN_DELAY the server accepts no connection, and waits for\n" +
			"requests in flight for COFFER_SHUTDOWN_TIMEOUT. A second signal ends it at once. The first start prints a token.\n" +
			"If the KMS or the Redis of the keysets cannot be reached at the start, the server answers 503 and tries again.\n\n" + config.Help(),
		Example: "  coffer serve --listen 127.0.0.1:8080 --data coffer-data\n\n" +
			"  ENCRYPTION_MASTER_KEY_FILE=/run/secrets/master-key REDIS_URL=rediss://user:password@redis:6379/0 \\\n" +
			"    coffer serve --environment prod --data /var/lib/coffer --trusted-proxies 10.0.0.0/8",
		GroupID: groupServer,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // keep serving if the reader of the output is gone
			lines := newLogQueue(cmd.ErrOrStderr())
			cmd.Root().SetErr(lines) // main closes it after the last error
			c, warnings, err := config.Load(os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: c.Log.Level}))
			slog.SetDefault(log)
			for _, warning := range warnings {
				log.Warn(warning)
			}
			if err := c.CheckProduction(); err != nil {
				return refusedError(err)
			}
			return serve(cmd.Context(), &c, cmd.OutOrStdout(), log, lines.Dropped)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

// serve opens the server, serves until ctx ends, lets requests in flight end and closes everything. droppedLines returns the number of
// lines that are missing in the log.
//
// It listens first and answers 503 while the KMS or the Redis of the keysets cannot be reached.
func serve(ctx context.Context, c *config.Config, stdout io.Writer, log *slog.Logger, droppedLines func() int) (err error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w", err)
	}
	for _, e := range exposures(c.Data) {
		log.Warn(e.String()+": close it to them (chmod o-rwx), coffer doctor checks it", "path", e.path)
	}
	startup := &startupHandler{}
	server, err := listen(c, startup, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreClosed(server.Close())) }()
	stopNotifying := func() {}
	defer func() { stopNotifying() }()
	announce := sync.OnceValue(func() error {
		stopNotifying = notifyServiceManager(ctx, startup, log)
		return announceAddress(stdout, server.listener.Addr(), log)
	})

	a, err := openAppWithRetry(ctx, c, stdout, startup, announce, log)
	if a == nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	a.metrics.WatchLog(droppedLines)
	a.metrics.WatchConnections(server.connections.Counts)
	handler, err := api.New(a.handlerOptions(ctx))
	if err != nil {
		return err
	}
	if err := a.recorder.Record(ctx, audit.Event{Action: audit.ServerStart, Operation: "serve"}); err != nil {
		return err
	}
	if err := a.announceToken(ctx); err != nil {
		return err
	}
	startup.open(handler)
	if err := announce(); err != nil {
		return err
	}
	return a.serve(ctx, server)
}

// serve runs the server and its background work until ctx ends. The audit log gets the last events of that work, and then that the server
// stopped.
func (a *app) serve(ctx context.Context, server *httpServer) error {
	afterShutdown := context.WithoutCancel(ctx) // ends when stop is called, not when the server begins to shut down
	defer runInBackground(afterShutdown, func(ctx context.Context) { kms.RenewCredentials(ctx, a.log, a.keys.keks.All()...) })()
	defer runInBackground(afterShutdown, func(ctx context.Context) { a.store.RunCounts(ctx, a.log) })()
	defer runInBackground(ctx, a.readiness.Watch)()
	stopRefusals := runInBackground(afterShutdown, a.refusals.Run)
	stopLosses := runInBackground(afterShutdown, func(ctx context.Context) { a.keys.losses.record(ctx, a.recorder) })
	stopRotating := a.startRotating(ctx)
	context.AfterFunc(ctx, a.metrics.SetDraining)
	err := server.run(ctx, a.config, a.log)
	stopRotating()
	stopRefusals()
	stopLosses()
	return errors.Join(err, a.recorder.Record(afterShutdown, audit.Event{Action: audit.ServerStop, Operation: "serve"}))
}

// notifyServiceManager reports to the service manager that the server has started, works and ends. A server that waits for the KMS has
// started too, because it answers. The caller calls stop.
func notifyServiceManager(ctx context.Context, handler http.Handler, log *slog.Logger) (stop func()) {
	m := serviceManagerFromEnvironment(os.Getenv)
	m.notify("READY=1", log) // the server accepts connections
	context.AfterFunc(ctx, func() { m.notify("STOPPING=1", log) })
	return runInBackground(context.WithoutCancel(ctx), func(ctx context.Context) { m.watch(ctx, livenessCheck(handler), log) })
}

// announceToken creates and prints the first token, or prints how to create one if no token is valid.
func (a *app) announceToken(ctx context.Context) error {
	first, _, err := a.tokens.CreateFirst(ctx, token.Audit{Recorder: a.auditLog, Operation: "serve"})
	if err != nil {
		return err
	}
	switch {
	case first != "":
		fmt.Fprintln(a.stdout, "token:", first)
	case a.config.OIDC.Issuer == "" && a.tokens.Counts().Live == 0:
		a.log.Warn("no token is valid: no request is accepted until one is created by coffer token create")
		fmt.Fprintf(a.stdout, "no token is valid: create one by `coffer token create --data %s`\n", a.config.Data)
	}
	return nil
}

// announceAddress prints the address, at which the server accepts connections.
func announceAddress(out io.Writer, addr net.Addr, log *slog.Logger) error {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("listening beyond this machine without TLS: tokens are sent in the clear; put a proxy with TLS in front")
	}
	_, err := fmt.Fprintf(out, "listening: http://%s\n", addr)
	return err
}
