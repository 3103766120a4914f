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
		Long: "Serves until SIGTERM, SIGINT or SIGHUP; then /readyz fails, after COFFER_SHUTDOWN_DELAY no connection is accepted, and requests in flight are\n" +
			"let end within COFFER_SHUTDOWN_TIMEOUT. A second signal ends it at once. The first start prints a token.\n" +
			"While the KMS or the Redis of the keysets cannot be reached at the start, it answers 503 and waits.\n\n" + config.Help(),
		Example: "  coffer serve --listen 127.0.0.1:8080 --data coffer-data\n\n" +
			"  ENCRYPTION_MASTER_KEY_FILE=/run/secrets/master-key REDIS_URL=rediss://user:password@redis:6379/0 \\\n" +
			"    coffer serve --environment prod --data /var/lib/coffer --trusted-proxies 10.0.0.0/8",
		GroupID: groupServer,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a server goes on if nothing reads its output any more
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

// serve runs the server until ctx ends, then lets requests in flight end and closes the store after them. dropped returns how many lines
// of the log were not written.
func serve(ctx context.Context, c *config.Config, out io.Writer, log *slog.Logger, dropped func() int) (err error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w", err)
	}
	for _, e := range exposures(c.Data) {
		log.Warn(e.String()+": close it to them (chmod o-rwx), coffer doctor checks it", "path", e.path)
	}
	g := &startupHandler{}
	server, err := listen(c, g, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreClosed(server.Close())) }()
	stopNotifying := func() {}
	defer func() { stopNotifying() }()
	tell := sync.OnceValue(func() error {
		stopNotifying = notifyServiceManager(ctx, g, log)
		return announceAddress(out, server.listener.Addr(), log)
	})
	p, err := openAppWithRetry(ctx, c, out, g, tell, log)
	if p == nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	p.metrics.WatchLog(dropped)
	p.metrics.WatchConnections(server.connections.Counts)
	options := p.options(c, log)
	options.Ending = ctx
	handler, err := api.New(options)
	if err != nil {
		return err
	}
	if err := p.recorder.Record(ctx, audit.Event{Action: audit.ServerStart, Operation: "serve"}); err != nil {
		return err
	}
	if err := p.announceToken(ctx, out, c, log); err != nil {
		return err
	}
	g.open(handler)
	if err := tell(); err != nil {
		return err
	}
	stopKeeping := runInBackground(context.WithoutCancel(ctx), func(ctx context.Context) { kms.RenewCredentials(ctx, log, p.keys.keks.All()...) })
	defer stopKeeping()
	stopRefusals := runInBackground(context.WithoutCancel(ctx), p.refusals.Run)
	stopLosses := runInBackground(context.WithoutCancel(ctx), func(ctx context.Context) { p.keys.losses.record(ctx, p.recorder) })
	stopStorage := p.startCounting(context.WithoutCancel(ctx), log)
	defer stopStorage()
	stopWatching := runInBackground(ctx, p.ready.Watch)
	defer stopWatching()
	stop := p.startRotating(ctx, c, log)
	context.AfterFunc(ctx, p.metrics.SetDraining)
	err = server.run(ctx, c, log)
	stop()
	stopRefusals()
	stopLosses()
	return errors.Join(err, p.recorder.Record(context.WithoutCancel(ctx), audit.Event{Action: audit.ServerStop, Operation: "serve"}))
}

// notify reports to the service manager that the server has started, works and ends. One that waits for the KMS has started too: it
// answers. The caller calls stop.
func notifyServiceManager(ctx context.Context, handler http.Handler, log *slog.Logger) (stop func()) {
	m := serviceManagerFromEnvironment(os.Getenv)
	m.notify("READY=1", log) // connections are accepted by now
	context.AfterFunc(ctx, func() { m.notify("STOPPING=1", log) })
	return runInBackground(context.WithoutCancel(ctx), func(ctx context.Context) { m.watch(ctx, livenessCheck(handler), log) })
}

// announceToken prints the token if this is the first start, or that there is none.
func (p *app) announceToken(ctx context.Context, out io.Writer, c *config.Config, log *slog.Logger) error {
	first, _, err := p.tokens.CreateFirst(ctx, token.Audit{Recorder: p.audit, Operation: "serve"})
	if err != nil {
		return err
	}
	switch {
	case first != "":
		fmt.Fprintln(out, "token:", first)
	case c.OIDC.Issuer == "" && p.tokens.Counts().Live == 0:
		log.Warn("no token is in force: no request is accepted until one is made by coffer token create")
		fmt.Fprintf(out, "no token is in force: make one by `coffer token create --data %s`\n", c.Data)
	}
	return nil
}

// announceAddress prints the address, on which connections are accepted by now.
func announceAddress(out io.Writer, addr net.Addr, log *slog.Logger) error {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("listening beyond this machine without TLS: put a proxy with TLS in front, the token travels in the clear")
	}
	_, err := fmt.Fprintf(out, "listening: http://%s\n", addr)
	return err
}
