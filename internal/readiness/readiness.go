// Package readiness finds out whether a server can do its work now, and says so when that changes.
//
// It guarantees that a flood of questions costs no more than one: checks run together, once for all callers, and their results
// are reused for a moment. A check that does not answer counts as failed, and is not started again before it ended.
package readiness

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Check is one thing that a server needs.
type Check struct {
	Code     string // of package codes' table, which is answered if Run fails
	Degrades bool   // requests can be served though it fails
	Instant  bool   // Run costs nothing and is called for every question
	Run      func(ctx context.Context) error
}

// Failure is a check that fails.
type Failure struct {
	Code     string
	Degrades bool
	Since    time.Time // when it was first seen to fail
	Err      error
}

const (
	// Memory is for how long what checks found is reused.
	ReuseTime = time.Second
	// Interval is how often Watch looks.
	WatchInterval = 5 * time.Second
	// Patience is how long a check may take.
	CheckTimeout = 2 * time.Second
)

// errSilent reports a check that does not answer.
var errSilent = errors.New("no answer within " + CheckTimeout.String())

// errPanic reports a check that panicked.
var errPanic = errors.New("the check panicked")

// Monitor runs checks. It is safe for concurrent use.
type Monitor struct {
	checks []Check
	log    *slog.Logger
	memory time.Duration

	mu       sync.Mutex
	states   []state       // of the checks, in their order
	looked   time.Time     // when the last look ended
	underway chan struct{} // closed when the look that is under way ends; nil if there is none
}

type state struct {
	running bool // Run has not returned yet
	since   time.Time
	err     error
}

// New returns a Monitor of checks. memory is usually Memory.
func New(log *slog.Logger, memory time.Duration, checks ...Check) *Monitor {
	return &Monitor{checks: checks, log: log, memory: memory, states: make([]state, len(checks))}
}

// Watch looks every Interval until ctx ends, so that changes are logged and seen by the metrics though nobody asks.
func (m *Monitor) Watch(ctx context.Context) {
	ticker := time.NewTicker(WatchInterval)
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

// Failures returns the checks that fail, in their order, as they were found at most the monitor's memory ago. It waits for a look
// that is under way, for Patience at most, or until ctx ends.
func (m *Monitor) Failures(ctx context.Context) []Failure {
	m.mu.Lock()
	if m.underway == nil && (m.looked.IsZero() || time.Since(m.looked) >= m.memory) {
		m.underway = make(chan struct{})
		go m.look(m.underway)
	}
	underway := m.underway
	m.mu.Unlock()
	if underway != nil {
		select {
		case <-underway:
		case <-ctx.Done():
		}
	}
	return m.LastFailures()
}

// Known returns the checks that failed when they were last looked at. It runs instant checks only.
func (m *Monitor) LastFailures() (failures []Failure) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, c := range m.checks {
		s := m.states[i]
		if c.Instant {
			s = state{since: now, err: c.Run(context.Background())}
		}
		if s.err != nil {
			failures = append(failures, Failure{c.Code, c.Degrades, s.since, s.err})
		}
	}
	return failures
}

// Each calls f with every check and whether it fails, as Known does.
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

// look runs all checks that are not instant and not still running, and waits for them for Patience at most.
func (m *Monitor) look(underway chan struct{}) {
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
			err := m.checks[i].try(ctx)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.states[i].running = false
			m.note(i, err)
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
			m.note(i, errSilent)
		}
	}
	m.looked, m.underway = time.Now(), nil
	close(underway)
}

// try runs a check. A panic, which must not end the server, is a failure; its value may hold data.
func (c *Check) try(ctx context.Context) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	return c.Run(ctx)
}

// note remembers what a check found, and logs a change. m.mu must be held.
func (m *Monitor) note(i int, err error) {
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
