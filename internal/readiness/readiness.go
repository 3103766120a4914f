// Package readiness checks whether a server can do its work now, and logs when that changes.
//
// Many concurrent requests cost no more than one: each check runs once for all callers, and its result is reused for a
// moment. A check that does not return in time counts as failed, and is not started again before it returns.
package readiness

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Check is one condition that a server needs.
type Check struct {
	Code     string // error code from the table of package codes, for the response if Run fails
	Degrades bool   // requests can still be served if it fails
	Instant  bool   // Run is cheap and is called for every request
	Run      func(ctx context.Context) error
}

// Failure is the result of a check that fails.
type Failure struct {
	Code     string
	Degrades bool
	Since    time.Time // when the check was first seen to fail
	Err      error
}

const (
	// ReuseTime is how long results are usually reused.
	ReuseTime = time.Second
	// WatchInterval is the time between two rounds of Watch.
	watchInterval = 5 * time.Second
	// CheckTimeout is how long a check may take.
	CheckTimeout = 2 * time.Second
)

// errNoAnswer reports that a check did not return in time.
var errNoAnswer = errors.New("no answer within " + CheckTimeout.String())

// errPanic reports a check that panicked.
var errPanic = errors.New("the check panicked")

// Monitor runs checks. It is safe for concurrent use.
type Monitor struct {
	checks    []Check
	log       *slog.Logger
	reuseTime time.Duration

	mu        sync.Mutex
	states    []checkState  // one for each check
	checkedAt time.Time     // when the last round ended
	roundDone chan struct{} // closed when the running round ends; nil if none is running
}

type checkState struct {
	running bool // Run has not returned yet
	since   time.Time
	err     error
}

// New returns a Monitor that reuses results for reuseTime, usually ReuseTime.
func New(log *slog.Logger, memory time.Duration, checks ...Check) *Monitor {
	return &Monitor{checks: checks, log: log, reuseTime: memory, states: make([]checkState, len(checks))}
}

// Watch runs the checks every WatchInterval until ctx ends, so that changes are logged and visible in the metrics
// without requests.
func (m *Monitor) Watch(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		m.Failures(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Failures returns the checks that fail, in their order. The results are at most as old as the reuse time. Failures
// waits for a running round, at most for CheckTimeout or until ctx ends.
func (m *Monitor) Failures(ctx context.Context) []Failure {
	m.mu.Lock()
	if m.roundDone == nil && (m.checkedAt.IsZero() || time.Since(m.checkedAt) >= m.reuseTime) {
		m.roundDone = make(chan struct{})
		go m.runChecks(m.roundDone)
	}
	underway := m.roundDone
	m.mu.Unlock()
	if underway != nil {
		select {
		case <-underway:
		case <-ctx.Done():
		}
	}
	return m.LastFailures()
}

// LastFailures returns the checks that failed in the last round. It only runs instant checks.
func (m *Monitor) LastFailures() (failures []Failure) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, c := range m.checks {
		s := m.states[i]
		if c.Instant {
			s = checkState{since: now, err: c.Run(context.Background())}
		}
		if s.err != nil {
			failures = append(failures, Failure{c.Code, c.Degrades, s.since, s.err})
		}
	}
	return failures
}

// Each calls f for every check with its result as LastFailures returns it.
func (m *Monitor) Each(f func(code string, degrades, fails bool)) {
	known := m.LastFailures()
	for _, c := range m.checks {
		fails := false
		for _, k := range known {
			fails = fails || k.Code == c.Code && k.Degrades == c.Degrades
		}
		f(c.Code, c.Degrades, fails)
	}
}

// runChecks runs the checks that are neither instant nor still running, and waits for them for at most CheckTimeout.
func (m *Monitor) runChecks(underway chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), CheckTimeout)
	defer cancel()
	var group sync.WaitGroup
	ended := make(chan struct{})
	m.mu.Lock()
	for i := range m.checks {
		if m.checks[i].Instant {
			continue
		}
		if m.states[i].running {
			continue
		}
		m.states[i].running = true
		group.Go(func() {
			err := m.checks[i].run(ctx)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.states[i].running = false
			m.setResultLocked(i, err)
		})
	}
	m.mu.Unlock()
	go func() {
		group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.checks {
		if m.states[i].running {
			m.setResultLocked(i, errNoAnswer)
		}
	}
	m.checkedAt, m.roundDone = time.Now(), nil
	close(underway)
}

// run runs a check and turns a panic into an error, without the panic's value, which may contain data.
func (c *Check) run(ctx context.Context) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	return c.Run(ctx)
}

// setResultLocked stores the result of a check and logs a change. m.mu must be held.
func (m *Monitor) setResultLocked(i int, err error) {
	c, s := &m.checks[i], &m.states[i]
	effect := "not ready"
	if c.Degrades {
		effect = "degraded"
	}
	switch {
	case err != nil && s.err == nil:
		s.since = time.Now()
		m.log.Warn("a check of readiness fails", "code", c.Code, "effect", effect, "error", err)
	case err == nil && s.err != nil:
		m.log.Info("a check of readiness passes again", "code", c.Code, "seconds", time.Since(s.since).Seconds())
	}
	s.err = err
}
