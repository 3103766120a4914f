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
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/api"
	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/quotakv"
	"github.com/coffer-storage/coffer/internal/token"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
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
				return refuse(err)
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
	g := &gate{}
	server, err := beginServing(c, g, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreClosed(server.Close())) }()
	stopNotifying := func() {}
	defer func() { stopNotifying() }()
	tell := sync.OnceValue(func() error {
		stopNotifying = notify(ctx, g, log)
		return announceAddress(out, server.listener.Addr(), log)
	})
	p, err := openWhenPossible(ctx, c, out, g, tell, log)
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
	stopKeeping := beside(context.WithoutCancel(ctx), func(ctx context.Context) { kms.RenewCredentials(ctx, log, p.keys.keks.All()...) })
	defer stopKeeping()
	stopRefusals := beside(context.WithoutCancel(ctx), p.refusals.Run)
	stopLosses := beside(context.WithoutCancel(ctx), func(ctx context.Context) { p.keys.lost.record(ctx, p.recorder) })
	stopStorage := p.countStorage(context.WithoutCancel(ctx), log)
	defer stopStorage()
	stopWatching := beside(ctx, p.ready.Watch)
	defer stopWatching()
	stop := p.rotate(ctx, c, log)
	context.AfterFunc(ctx, p.metrics.SetDraining)
	err = server.run(ctx, c, log)
	stop()
	stopRefusals()
	stopLosses()
	return errors.Join(err, p.recorder.Record(context.WithoutCancel(ctx), audit.Event{Action: audit.ServerStop, Operation: "serve"}))
}

// ignoreClosed drops the error of closing what is closed.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// notify reports to the service manager that the server has started, works and ends. One that waits for the KMS has started too: it
// answers. The caller calls stop.
func notify(ctx context.Context, handler http.Handler, log *slog.Logger) (stop func()) {
	m := serviceManager(os.Getenv)
	m.notify("READY=1", log) // connections are accepted by now
	context.AfterFunc(ctx, func() { m.notify("STOPPING=1", log) })
	return beside(context.WithoutCancel(ctx), func(ctx context.Context) { m.watch(ctx, answers(handler), log) })
}

// cannotListen says what to do where another program has the port.
func cannotListen(address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return refuse(fmt.Errorf("cannot listen: %s is in use by another program: give another address with --listen, such as 127.0.0.1:8081", address))
	}
	return exitWith(exitFailed, fmt.Errorf("cannot listen: %w", err))
}

// cacheDir is the embedded store's.
func cacheDir(c *config.Config) string { return filepath.Join(c.Data, "cache") }

// openStore opens Redis where it is configured, and the store embedded in the data directory where not. A
// Redis that cannot be reached stops nothing: requests say so until it is there.
func openStore(c *config.Config, p *parts, log *slog.Logger) (*quotakv.Store, error) {
	quota := int64(c.Limits.Storage)
	if c.Redis.Configured() {
		redis, err := openRedis(c, log)
		if err != nil {
			return nil, err
		}
		return p.storage.wrap(redis, quota, p.metrics)
	}
	dir := cacheDir(c)
	log.Info("the cache is embedded", "directory", dir)
	store, err := sqlitekv.Open(dir, log, sqlitekv.WithQuota(quota), sqlitekv.WithMinFreeSpace(c.MinFree))
	if errors.Is(err, sqlitekv.ErrInUse) {
		return nil, refuse(fmt.Errorf("another server, or a command, uses %s: stop it, or give this one a --data of its own", c.Data))
	}
	if errors.Is(err, kv.ErrDamaged) {
		err = fmt.Errorf("%w: stop all servers; `coffer store check` names the damage, and `coffer store repair` keeps what can be read", err)
	}
	if err != nil {
		return nil, err
	}
	return p.storage.wrap(store, 0, p.metrics) // the embedded store counts exactly
}

// redisLog takes go-redis' own messages, which would go past the log to standard error. What fails is in the
// error of a call as well.
type redisLog struct{ log *slog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

func openRedis(c *config.Config, log *slog.Logger) (*rediskv.Store, error) {
	redis.SetLogger(redisLog{log})
	store, err := c.Redis.Open()
	if err != nil {
		return nil, err
	}
	log.Info("the cache is in Redis")
	ctx, cancel := context.WithTimeout(context.Background(), firstPing)
	defer cancel()
	if err := store.Ping(ctx); err != nil {
		log.Warn("Redis cannot be reached yet; requests are answered 503 until it can", "error", err)
	}
	return store, nil
}

// announceToken prints the token if this is the first start, or that there is none.
func (p *parts) announceToken(ctx context.Context, out io.Writer, c *config.Config, log *slog.Logger) error {
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

const (
	headerTimeout = 10 * time.Second
	firstPing     = 2 * time.Second // how long the start may be held up to say that Redis is not there
)

func newServer(handler http.Handler, c *config.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: min(headerTimeout, c.ReadTimeout),
		ReadTimeout:       c.ReadTimeout,
		WriteTimeout:      c.ReadTimeout + c.RequestTimeout + c.WriteTimeout, // net/http counts it from the request's headers on
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    api.MaxHeader,

		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like everything else
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// run serves until ctx ends. Then it goes on for COFFER_SHUTDOWN_DELAY, in which load balancers see that it is not ready
// and each answer ends its connection, takes no more requests, and waits for those in flight.
func (r *running) run(ctx context.Context, c *config.Config, log *slog.Logger) error {
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
