// Package metrics counts and times the server's operations for Prometheus.
//
// Metrics reveal no data and cannot grow without bound, because every label has a fixed set of values. Unknown
// operations are "other". Outcomes are codes of package codes. A tenant is a keyed hash, appears in one metric only,
// and at most 100 tenants have a label of their own. A name, value, context, token or key id is never a label.
package metrics

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/codes"
)

// Outcomes of operations, in addition to error codes.
const (
	outcomeOK       = "ok"
	outcomeCanceled = "canceled" // see OperationResult.Canceled
)

// other is the label of values that have no label of their own.
const other = "other"

// Metrics contains the metrics of one server, in a registry of their own. It is safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	known      map[string]*operationSeries
	tenants    *tenantLabels
	operations *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	hits       func() prometheus.Counter
	misses     func() prometheus.Counter
	sealed     classCounters
	opened     classCounters
	integrity  *prometheus.CounterVec
	copyLost   prometheus.Counter
	unrecorded prometheus.Counter
	unknownKey prometheus.Counter
	kmsCalls   *prometheus.CounterVec
	kmsLatency *prometheus.HistogramVec
	encryption prometheus.Gauge
	draining   prometheus.Gauge
}

// New returns the metrics of a server with operations, given by their ids in the OpenAPI document. hash must be a keyed
// hash, because tenants' ids can be guessed. With audit.Key.HashTenant, the metrics and the audit log use the same
// hashes.
func New(operations []string, hash func(tenant string) string) *Metrics {
	lookups := counter("cache_lookups_total", "Reads of the cache by result: hit or miss.", "result")
	keys := counter("key_uses_total", "Packages sealed and opened under the keys of a class.", "action", "class")
	byTenant := counter("tenant_operations_total", "Operations by tenant, as a keyed hash, and whether they failed.", "tenant", "failed")
	m := &Metrics{
		registry: prometheus.NewRegistry(), known: map[string]*operationSeries{}, tenants: newTenants(hash, byTenant),
		operations: counter("operations_total", "Operations by id, class of the value and outcome: ok, canceled or the error code.", "operation", "class", "outcome"),
		latency:    histogram("operation_duration_seconds", "Time from the first byte of a request to the last byte of its response, by operation.", "operation"),
		hits:       lazyCounter(lookups, "hit"),
		misses:     lazyCounter(lookups, "miss"),
		sealed:     newClassCounters(func(class string) func() prometheus.Counter { return lazyCounter(keys, "seal", class) }),
		opened:     newClassCounters(func(class string) func() prometheus.Counter { return lazyCounter(keys, "open", class) }),
		integrity:  counter("integrity_failures_total", "Values that were altered, moved or forged, by the class that they claim. The class none is for damaged entries, keysets, lines of the audit log and API tokens.", "class"),
		kmsCalls:   counter("kms_calls_total", "Calls of the KMS by kind and outcome: ok or the error code.", "call", "outcome"),
		kmsLatency: histogram("kms_call_duration_seconds", "Duration of calls of the KMS.", "call"),
	}
	m.copyLost = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "audit_copy_lost_total", Help: "Lines of the audit log that may be missing in its copy. The log itself contains them.",
	})
	m.unrecorded = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "audit_unrecorded_total", Help: "Events that could not be written to the audit log in time.",
	})
	m.unknownKey = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "unknown_key_total", Help: "Reads of entries under keys that the tenant's keyset does not contain.",
	})
	m.encryption = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "encryption_enabled", Help: "0 if ENCRYPTION_ENABLED is false and values are stored unencrypted, otherwise 1.",
	})
	m.encryption.Set(1)
	m.draining = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "draining", Help: "1 while the server shuts down: it still answers requests, but load balancers should not send new ones.",
	})
	for _, id := range append(slices.Clip(operations), other) {
		m.known[id] = &operationSeries{
			id: id, latency: sync.OnceValue(func() prometheus.Observer { return m.latency.WithLabelValues(id) }),
			succeeded: newClassCounters(func(class string) func() prometheus.Counter { return lazyCounter(m.operations, id, class, outcomeOK) }),
		}
	}
	for class := range classify.PHI + 1 { // initialized to 0, so that Prometheus sees the first failure as an increase
		m.integrity.WithLabelValues(className(class))
	}
	m.registry.MustRegister(m.encryption, m.draining, m.operations, m.latency, lookups, keys, m.integrity, m.copyLost, m.unrecorded, m.unknownKey, m.kmsCalls, m.kmsLatency, byTenant,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

const namespace = "coffer"

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// buckets are in seconds: from a cache hit in memory to the time limit of a request.
var buckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

// OperationResult is the result of an operation that was answered.
type OperationResult struct {
	Operation string         // id in the OpenAPI document
	Tenant    string         // empty if the caller was not authenticated
	Class     classify.Class // of the value; zero if there is no value
	Err       error
	Canceled  bool // the client sent its body too late or did not wait for the response; Err is not nil
	Took      time.Duration
}

// operationSeries holds the series of an operation that most requests need.
type operationSeries struct {
	id        string
	latency   func() prometheus.Observer
	succeeded classCounters
}

// Operation counts and times an operation.
func (m *Metrics) Operation(d OperationResult) {
	o := m.known[d.Operation]
	if o == nil {
		o = m.known[other]
	}
	o.latency().Observe(d.Took.Seconds())
	switch {
	case d.Err == nil:
		o.succeeded.of(d.Class).Inc()
	case d.Canceled:
		m.operations.WithLabelValues(o.id, className(d.Class), outcomeCanceled).Inc()
	default:
		m.operations.WithLabelValues(o.id, className(d.Class), outcome(d.Err)).Inc()
	}
	if d.Tenant != "" {
		m.tenants.of(d.Tenant).count(d.Err)
	}
}

// SetUnencrypted records that values are stored unencrypted.
func (m *Metrics) SetUnencrypted() { m.encryption.Set(0) }

// SetDraining records that the server is shutting down.
func (m *Metrics) SetDraining() { m.draining.Set(1) }

// Lookups counts cache hits and misses.
func (m *Metrics) Lookups(hits, misses int) {
	m.hits().Add(float64(hits))
	m.misses().Add(float64(misses))
}

// Sealed counts a package that was sealed under a key of the class.
func (m *Metrics) Sealed(class classify.Class) { m.sealed.of(class).Inc() }

// Opened counts a package that was opened under a key of the class.
func (m *Metrics) Opened(class classify.Class) { m.opened.of(class).Inc() }

// IntegrityFailed counts values that were altered, moved or forged. The zero class is for other things, such as lines
// of the audit log.
func (m *Metrics) IntegrityFailed(class classify.Class, n int) {
	m.integrity.WithLabelValues(className(class)).Add(float64(n))
}

// UnknownKey counts reads of entries under keys that their tenant's keyset does not contain.
func (m *Metrics) UnknownKey(n int) { m.unknownKey.Add(float64(n)) }

// Tenant returns the label of a tenant: its hash, or "other" beyond maxTenants.
func (m *Metrics) Tenant(id string) string { return m.tenants.of(id).label }

// AuditCopyLost counts lines of the audit log that may be missing in its copy.
func (m *Metrics) AuditCopyLost(lines int) { m.copyLost.Add(float64(lines)) }

// WatchAudit adds the size of the audit log and its limit, in bytes. The function is called when the metrics are read.
func (m *Metrics) WatchAudit(size func() (bytes, budget int64)) {
	gauge := func(name, help string, value func() int64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge("audit_bytes", "Size of all files of the audit log in bytes.", func() int64 { bytes, _ := size(); return bytes })
	gauge("audit_budget_bytes", "Maximum size of all files of the audit log in bytes; 0 means no limit.", func() int64 { _, budget := size(); return budget })
}

// WatchLog adds the number of lines of the server's own log that were dropped. The function is called when the metrics
// are read.
func (m *Metrics) WatchLog(dropped func() int) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_dropped_total", Help: "Lines of the server's log that were dropped because standard error was not read or failed.",
	}, func() float64 { return float64(dropped()) }))
}

// WatchConnections adds the number of open connections, and of those closed because there were too many. The function
// is called when the metrics are read.
func (m *Metrics) WatchConnections(counts func() (open, closed int)) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "connections", Help: "Open connections of clients.",
	}, func() float64 { open, _ := counts(); return float64(open) }), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "connections_closed_total", Help: "Connections that the server closed because there were too many.",
	}, func() float64 { _, closed := counts(); return float64(closed) }))
}

// AuditUnrecorded counts events that could not be written to the audit log.
func (m *Metrics) AuditUnrecorded(events int) { m.unrecorded.Add(float64(events)) }

// Handler returns a handler that serves the metrics in the text format of Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true})
}

func className(class classify.Class) string {
	if !class.Valid() {
		return "none"
	}
	return class.String()
}

// outcome returns the outcome label of an error. An error without a code is internal.
func outcome(err error) string {
	if err == nil {
		return outcomeOK
	}
	return codes.Of(err).Code
}
