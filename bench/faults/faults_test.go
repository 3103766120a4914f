package faults

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/coffer-storage/coffer/internal/redistest"
)

// fault is a row of the matrix.
type fault struct {
	name    string
	prepare func(w *world) // before the server starts
	inject  func(w *world)
	heal    func(w *world)
	ready   []string // codes of which /readyz must report one; if empty, the server must stay ready
	drops   bool     // the store itself drops entries, as a cache may
	mends   bool     // the server repairs the fault, often before the next request to /readyz
	full    bool     // runs only in the full matrix
}

func redisCache(args ...string) func(*world) {
	return func(w *world) {
		w.redis = redistest.Start(w.t, args...)
		w.env = append(w.env, "REDIS_URL=redis://"+w.redis.Addr)
	}
}

func onDisk(w *world) {
	w.disk = newDisk(w.t)
	w.data = filepath.Join(w.disk.path, "data")
	w.env = append(w.env, "COFFER_MIN_FREE=33554432", "COFFER_MAX_BODY=16777216")
}

// configure sets a setting of the Redis of the cache.
func (w *world) configure(name, value string) {
	require.NoError(w.t, w.redis.Client(w.t).ConfigSet(context.Background(), name, value).Err())
}

// limitMemory sets the memory limit of Redis below its present use.
func (w *world) limitMemory() {
	info, err := w.redis.Client(w.t).InfoMap(context.Background(), "memory").Result()
	require.NoError(w.t, err)
	used, err := strconv.Atoi(info["Memory"]["used_memory"])
	require.NoError(w.t, err)
	w.configure("maxmemory", strconv.Itoa(used-64<<10))
}

func (w *world) restart() {
	<-w.server.exited
	w.start()
}

func ends(signal syscall.Signal) (inject, heal func(*world)) {
	return func(w *world) { w.server.signal(w.t, signal) }, (*world).restart
}

func nothing(*world) {}

func matrix() []fault {
	kill, again := ends(syscall.SIGKILL)
	term, _ := ends(syscall.SIGTERM)
	hup, _ := ends(syscall.SIGHUP)
	store := []string{"store_unavailable", "storage_full"}
	return []fault{
		{name: "Disk: full", full: true, prepare: onDisk, inject: func(w *world) { w.disk.fill() }, heal: func(w *world) { w.disk.free() },
			ready: []string{"storage_full", "audit_unavailable"}},
		{name: "Disk: fails and becomes read-only", full: true, prepare: onDisk, inject: func(w *world) { w.disk.abort() }, drops: true,
			heal:  func(w *world) { w.server.signal(w.t, syscall.SIGTERM); w.server.wait(w.t); w.disk.repair(); w.start() },
			ready: append(store, "audit_unavailable")},
		{name: "Disk: does not answer for 5 s", full: true, prepare: onDisk, inject: func(w *world) { w.disk.freeze(); time.Sleep(5 * time.Second) },
			heal: func(w *world) { w.disk.thaw() }, ready: append(store, "audit_unavailable", "timeout")},

		{name: "Redis: stopped", full: true, prepare: redisCache("--appendonly", "yes", "--appendfsync", "always"),
			inject: func(w *world) { w.redis.Stop() }, heal: func(w *world) { w.redis.Restart() }, ready: store},
		{name: "Redis: frozen", full: true, prepare: redisCache(), inject: func(w *world) { w.redis.Freeze() }, heal: func(w *world) { w.redis.Thaw() }, ready: store},
		{name: "Redis: full, without eviction", prepare: redisCache("--maxmemory-policy", "noeviction"),
			inject: func(w *world) { w.limitMemory() }, heal: func(w *world) { w.configure("maxmemory", "0") }, ready: store},
		{name: "Redis: full, evicting", full: true, prepare: redisCache("--maxmemory-policy", "allkeys-lru"),
			inject: func(w *world) { w.limitMemory() }, heal: func(w *world) { w.configure("maxmemory", "0") }, drops: true, ready: []string{"store_evicts"}},
		{name: "Redis: became a replica", prepare: redisCache(),
			inject: func(w *world) {
				require.NoError(w.t, w.redis.Client(w.t).ReplicaOf(context.Background(), "127.0.0.1", "1").Err())
			},
			heal: func(w *world) {
				require.NoError(w.t, w.redis.Client(w.t).ReplicaOf(context.Background(), "NO", "ONE").Err())
			},
			ready: store},
		{name: "Redis: restarted, empty", full: true, prepare: redisCache(), inject: func(w *world) { w.redis.Restart() }, heal: nothing, drops: true, mends: true},
		{name: "Redis: another password", full: true, prepare: redisCache(),
			inject: func(w *world) { w.redis.SetPassword("another"); disconnect(w) },
			heal: func(w *world) {
				client := w.redis.Client(w.t)
				require.NoError(w.t, client.ConfigSet(context.Background(), "requirepass", "").Err())
			}, ready: store},

		{name: "Keysets' Redis: frozen", full: true, prepare: redisKeys, inject: func(w *world) { w.keys.Freeze() }, heal: func(w *world) { w.keys.Thaw() },
			ready: []string{"keyring_unavailable"}},
		{name: "Keysets' Redis: emptied", full: true, prepare: redisKeys, inject: emptyKeysets, heal: nothing, mends: true},

		{name: "Clock: 10 years ahead", full: true, prepare: ownClock, inject: func(w *world) { w.shift(3650 * 24 * time.Hour) }, heal: func(w *world) { w.shift(0) }, drops: true},
		{name: "Clock: 10 years back", full: true, prepare: ownClock, inject: func(w *world) { w.shift(-3650 * 24 * time.Hour) }, heal: func(w *world) { w.shift(0) }},

		{name: "File descriptors: exhausted", full: true, inject: func(w *world) { limitFiles(w, true) }, heal: func(w *world) { limitFiles(w, false) },
			ready: append(store, noAnswer)},
		{name: "SIGTERM", inject: term, heal: again},
		{name: "SIGHUP", full: true, inject: hup, heal: again},
		{name: "SIGPIPE", full: true, inject: func(w *world) { w.server.signal(w.t, syscall.SIGPIPE) }, heal: nothing},
		{name: "kill -9", inject: kill, heal: again},
	}
}

// disconnect closes the server's connections to Redis. Redis asks for a password only on new connections.
func disconnect(w *world) {
	client := w.redis.Client(w.t)
	require.NoError(w.t, client.Do(context.Background(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
}

func redisKeys(w *world) {
	redisCache()(w)
	w.keys = redistest.Start(w.t, "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	w.env = append(w.env, "COFFER_KEYS_REDIS_URL=redis://"+w.keys.Addr)
}

// emptyKeysets removes all data from the Redis of the keysets, like a failover to an empty replica.
func emptyKeysets(w *world) {
	require.NoError(w.t, w.keys.Client(w.t).FlushAll(context.Background()).Err())
}

// limitFiles sets the limit of file descriptors to the number that the server has open.
func limitFiles(w *world, on bool) {
	pid := w.server.cmd.Process.Pid
	limit := unix.Rlimit{Cur: 4096, Max: 4096}
	if on {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		require.NoError(w.t, err)
		limit.Cur = uint64(len(open))
	}
	require.NoError(w.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil))
	for _, conn := range w.idle {
		_ = conn.Close()
	}
	for w.idle = nil; on && len(w.idle) < 64; { // more than the free descriptors below the limit
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.server.url, "http://"))
		require.NoError(w.t, err)
		w.idle = append(w.idle, conn)
	}
}

// row is the result of one fault.
type row struct {
	name            string
	answers         map[string]int // responses from the fault until the server is ready again
	acked           int
	lost            int
	drops           bool
	ready           []string
	metrics, logged []string
	recovered       time.Duration
}

// TestFaults injects each fault into a server under load. Acknowledged writes must survive, /readyz and the log must report
// the fault, and the server must recover without help. COFFER_FAULTS=FILE runs the whole matrix and writes the table; it needs root for the
// disks.
func TestFaults(t *testing.T) {
	path := os.Getenv("COFFER_FAULTS")
	var rows []*row
	for _, f := range matrix() {
		if f.full && path == "" {
			continue
		}
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			if r := f.run(t); r != nil {
				rows = append(rows, r)
			}
		})
	}
	if path != "" && !t.Failed() {
		require.NoError(t, writeTable(path, rows, corrupt(t, 200)))
	}
}

func (f *fault) run(t *testing.T) *row {
	w := &world{t: t, data: filepath.Join(t.TempDir(), "data")}
	if f.prepare != nil {
		f.prepare(w)
	}
	w.start()
	w.load = startLoad(w.server.url, w.token)
	defer w.load.end()
	soon(t, "300 writes before the fault", func() bool { _, acked := w.load.progress(); return acked > 300 })
	before := w.metrics()
	_, w.logStart = w.server.warnings(0)
	w.load.turn()
	f.inject(w)
	r := &row{name: f.name, drops: f.drops}
	f.watch(w, r)
	if w.server.alive() {
		r.metrics = changed(before, w.metricsIfAny())
	}
	began := time.Now()
	log := w.server
	f.heal(w)
	soon(t, "the server is ready again", func() bool { h, err := w.server.ready(); return err == nil && len(h.codes()) == 0 })
	r.recovered = time.Since(began)
	r.answers = w.load.turn()
	soon(t, "100 writes after the fault", func() bool { _, acked := w.load.progress(); return acked > 100 })
	r.logged, _ = log.warnings(w.logStart)
	w.load.end()
	lost, wrong := w.load.lost()
	r.acked, r.lost = len(w.load.entries), len(lost)
	f.check(t, r, lost, wrong)
	return r
}

// watch continues the load during the fault and records the responses of /readyz.
func (f *fault) watch(w *world, r *row) {
	reported := len(f.ready) == 0
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !w.server.alive() {
			return
		}
		h, err := w.server.ready()
		codes := h.codes()
		if err != nil {
			codes = []string{noAnswer}
		}
		for _, code := range codes {
			if !slices.Contains(r.ready, code) {
				r.ready = append(r.ready, code)
			}
			reported = reported || slices.Contains(f.ready, code)
		}
		answers, _ := w.load.progress()
		if reported && (!f.mends || w.hasLogged()) && (answers > 300 || time.Until(end) < 25*time.Second) {
			return
		}
	}
}

func (w *world) hasLogged() bool {
	messages, _ := w.server.warnings(w.logStart)
	return len(messages) > 0
}

func (f *fault) check(t *testing.T, r *row, lost, wrong []string) {
	require.Empty(t, wrong)
	if !f.drops {
		require.Empty(t, lost, "acknowledged writes")
	}
	if len(f.ready) > 0 {
		require.True(t, slices.ContainsFunc(r.ready, func(code string) bool { return slices.Contains(f.ready, code) }), "/readyz named %v", r.ready)
	}
	if len(f.ready) > 0 || f.mends {
		require.NotEmpty(t, r.logged, "the log reports it")
	}
	t.Logf("answers %v, lost %d of %d, ready %v, metrics %v, log %q, %s", r.answers, r.lost, r.acked, r.ready, r.metrics, r.logged, r.recovered)
}

// metrics returns the server's metrics that report faults, by name with labels.
func (w *world) metrics() map[string]float64 {
	status, text := w.get("/metrics")
	require.Equal(w.t, 200, status, text)
	return parseMetrics(text)
}

func (w *world) metricsIfAny() map[string]float64 {
	if text := w.load.metrics(); text != "" {
		return parseMetrics(text)
	}
	return nil
}

func (l *load) metrics() string {
	_, text := l.send("GET", "/metrics", "")
	return text
}

func parseMetrics(text string) map[string]float64 {
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && strings.HasPrefix(name, "coffer_") {
			found[name] = n
		}
	}
	return found
}

// faultWords are parts of the names of metrics that report a fault.
var faultWords = []string{"ready", "fail", "error", "refused", "evicted", "restored", "restarts"}

// changed returns the names of fault metrics whose values changed.
func changed(before, during map[string]float64) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(during)) {
		plain, labels, _ := strings.Cut(name, "{")
		reports := strings.Contains(labels, `outcome="`) && !strings.Contains(labels, `outcome="ok"`) || slices.ContainsFunc(faultWords, func(word string) bool {
			return strings.Contains(plain, word)
		})
		if reports && during[name] != before[name] && !slices.Contains(names, plain) {
			names = append(names, plain)
		}
	}
	return names
}
