// Package metrics counts and times what the server does, for Prometheus.
//
// It guarantees that a metric tells nothing of the data and cannot grow without bound: every label is one of
// a fixed set. An operation that is none of the document's is "other", an outcome is a code of package codes'
// table, and a tenant is a keyed hash, of which there are at most [MaxTenants], in one metric only. No name,
// value, context, token or key id is ever a label. It knows no HTTP framework.
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

// Outcomes of operations, besides the codes of errors.
const (
	OK       = "ok"
	Canceled = "canceled" // see Done
)

// other stands for a label's value that is not one of its set.
const other = "other"

// Metrics is what one server counts, in a registry of its own. It is safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	known      map[string]*operation
	tenants    *tenants
	operations *prometheus.CounterVec
	latency    *prometheus.HistogramVec
	hits       func() prometheus.Counter
	misses     func() prometheus.Counter
	sealed     byClass
	opened     byClass
	integrity  *prometheus.CounterVec
	copyLost   prometheus.Counter
	unrecorded prometheus.Counter
	unknownKey prometheus.Counter
	kmsCalls   *prometheus.CounterVec
	kmsLatency *prometheus.HistogramVec
	encryption prometheus.Gauge
	draining   prometheus.Gauge
}

// New makes the metrics of a server that has the operations, by their ids in the OpenAPI document. The hash
// must be a keyed one, since a tenant's id may be guessed: audit.Key.HashTenant is such, and makes metrics
// and audit log agree.
func New(operations []string, hash func(tenant string) string) *Metrics {
	lookups := counter("cache_lookups_total", "Reads of the cache by result: hit or miss.", "result")
	keys := counter("key_uses_total", "Packages sealed and opened under the keys of a class.", "action", "class")
	byTenant := counter("tenant_operations_total", "Operations by tenant, as a keyed hash, and whether they failed.", "tenant", "failed")
	m := &Metrics{
		registry: prometheus.NewRegistry(), known: map[string]*operation{}, tenants: newTenants(hash, byTenant),
		operations: counter("operations_total", "Operations by id, class of the value and outcome: ok or the code of the error.", "operation", "class", "outcome"),
		latency:    histogram("operation_duration_seconds", "Time from a request's first byte to its answer's last, by operation.", "operation"),
		hits:       one(lookups, "hit"),
		misses:     one(lookups, "miss"),
		sealed:     eachClass(func(class string) func() prometheus.Counter { return one(keys, "seal", class) }),
		opened:     eachClass(func(class string) func() prometheus.Counter { return one(keys, "open", class) }),
		integrity:  counter("integrity_failures_total", "What was altered, moved or forged, by the class that it claims; none for damaged entries, and altered keysets, lines of the audit log and API tokens.", "class"),
		kmsCalls:   counter("kms_calls_total", "Calls of the KMS by kind and outcome: ok or the code of the error.", "call", "outcome"),
		kmsLatency: histogram("kms_call_duration_seconds", "Time that calls of the KMS took.", "call"),
	}
	m.copyLost = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "audit_copy_lost_total", Help: "Lines of the audit log that may not be in its copy. The log has them.",
	})
	m.unrecorded = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "audit_unrecorded_total", Help: "Events that the audit log did not take in time.",
	})
	m.unknownKey = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "unknown_key_total", Help: "Reads of entries under keys that the tenant's keyset does not have.",
	})
	m.encryption = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "encryption_enabled", Help: "1, or 0 where ENCRYPTION_ENABLED is false and values are stored in the clear.",
	})
	m.encryption.Set(1)
	m.draining = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "draining", Help: "1 from the signal to end until the end: requests are still answered, and load balancers turn away.",
	})
	for _, id := range append(slices.Clip(operations), other) {
		m.known[id] = &operation{
			id: id, latency: sync.OnceValue(func() prometheus.Observer { return m.latency.WithLabelValues(id) }),
			succeeded: eachClass(func(class string) func() prometheus.Counter { return one(m.operations, id, class, OK) }),
		}
	}
	for class := range classify.PHI + 1 { // there before the first failure, or Prometheus would see no increase at it
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

// buckets are in seconds: from a hit in memory to a request at its time limit.
var buckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

// Done is an operation that was answered.
type OperationResult struct {
	Operation string         // its id in the OpenAPI document
	Tenant    string         // empty where nobody was authenticated
	Class     classify.Class // of the value; zero where there is none
	Err       error
	Canceled  bool // the client did not send its body in time, or did not wait for all of its answer; Err is not nil
	Took      time.Duration
}

// operation has the series of an operation that most requests need.
type operation struct {
	id        string
	latency   func() prometheus.Observer
	succeeded byClass
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
		m.operations.WithLabelValues(o.id, className(d.Class), Canceled).Inc()
	default:
		m.operations.WithLabelValues(o.id, className(d.Class), outcome(d.Err)).Inc()
	}
	if d.Tenant != "" {
		m.tenants.of(d.Tenant).count(d.Err)
	}
}

// Unencrypted says that values are stored in the clear.
func (m *Metrics) SetUnencrypted() { m.encryption.Set(0) }

// Draining records that the server is shutting down.
func (m *Metrics) SetDraining() { m.draining.Set(1) }

// Lookups counts reads of the cache that found something, and that found nothing.
func (m *Metrics) Lookups(hits, misses int) {
	m.hits().Add(float64(hits))
	m.misses().Add(float64(misses))
}

// Sealed counts a package sealed under a key of the class.
func (m *Metrics) Sealed(class classify.Class) { m.sealed.of(class).Inc() }

// Opened counts a package opened under a key of the class.
func (m *Metrics) Opened(class classify.Class) { m.opened.of(class).Inc() }

// IntegrityFailed counts entries or packages that were altered, moved or forged; of no class, alterations of the audit log.
func (m *Metrics) IntegrityFailed(class classify.Class, n int) {
	m.integrity.WithLabelValues(className(class)).Add(float64(n))
}

// UnknownKey counts reads of entries under keys that their tenant's keyset does not have.
func (m *Metrics) UnknownKey(n int) { m.unknownKey.Add(float64(n)) }

// Tenant returns the hash by which the metrics name a tenant, or "other" beyond MaxTenants.
func (m *Metrics) Tenant(id string) string { return m.tenants.of(id).label }

// AuditCopyLost counts lines of the audit log that may not be in its copy.
func (m *Metrics) AuditCopyLost(lines int) { m.copyLost.Add(float64(lines)) }

// WatchAudit registers the size of the audit log and its budget, both in bytes. The function is asked when the metrics are.
func (m *Metrics) WatchAudit(size func() (bytes, budget int64)) {
	gauge := func(name, help string, value func() int64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge("audit_bytes", "Bytes of all files of the audit log.", func() int64 { bytes, _ := size(); return bytes })
	gauge("audit_budget_bytes", "Bytes that all files of the audit log may have; 0 for any number.", func() int64 { _, budget := size(); return budget })
}

// WatchLog registers how many lines of the server's own log were dropped. The function is asked when the metrics are.
func (m *Metrics) WatchLog(dropped func() int) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_dropped_total", Help: "Lines of the server's log that were not written, because nothing read standard error or it failed.",
	}, func() float64 { return float64(dropped()) }))
}

// WatchConnections registers how many connections are open, and how many were closed for others. The function is asked when the
// metrics are.
func (m *Metrics) WatchConnections(counts func() (open, closed int)) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "connections", Help: "Connections of clients that are open.",
	}, func() float64 { open, _ := counts(); return float64(open) }), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "connections_closed_total", Help: "Connections that were closed because there were too many.",
	}, func() float64 { _, closed := counts(); return float64(closed) }))
}

// AuditUnrecorded counts events that the audit log did not take.
func (m *Metrics) AuditUnrecorded(events int) { m.unrecorded.Add(float64(events)) }

// Handler answers the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true})
}

func className(class classify.Class) string {
	if !class.Valid() {
		return "none"
	}
	return class.String()
}

// outcome is bounded by the table: an error without a code is internal.
func outcome(err error) string {
	if err == nil {
		return OK
	}
	return codes.Of(err).Code
}
