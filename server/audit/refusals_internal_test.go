package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeRecorder is a Recorder that keeps its events, or fails.
type fakeRecorder struct {
	mu     sync.Mutex
	events []Event
	err    error
}

func (r *fakeRecorder) Record(_ context.Context, events ...Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.events = append(r.events, events...)
	}
	return r.err
}

// times returns the number of refusals that the events report.
func (r *fakeRecorder) times(t *testing.T) (sum int) {
	t.Helper()
	for _, e := range r.events {
		n := 1
		if text, ok := e.Facts[FactFailed]; ok {
			var err error
			n, err = strconv.Atoi(text)
			require.NoError(t, err)
		}
		sum += n
	}
	return sum
}

func newRefusals() (*Refusals, *fakeRecorder, *time.Time) {
	recorder, now := &fakeRecorder{}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := NewRefusals(recorder, slog.New(slog.NewTextHandler(io.Discard, nil)))
	r.now = func() time.Time { return now }
	return r, recorder, &now
}

func refused(operation string) Event {
	return Event{Action: AccessRefused, Code: "forbidden", Issuer: "coffer", Subject: "token", Tenant: "clinic", Operation: operation}
}

// An hour of refusals of one token causes one event a minute for each operation, and the events account for every
// refusal.
func TestRepeatedRefusalsAreSummarized(t *testing.T) {
	r, recorder, now := newRefusals()
	const operations, perSecond, seconds = 20, 10, 3600
	for second := range seconds {
		for i := range perSecond * operations {
			r.Record(t.Context(), "192.0.2.1/32", refused(fmt.Sprint("operation ", i%operations)), 1)
		}
		if second == 0 {
			require.Len(t, recorder.events, operations, "the first of each is recorded at once")
			require.Equal(t, operations, recorder.times(t))
		}
		*now = now.Add(time.Second)
		r.flush(t.Context(), now.Add(-summaryInterval))
	}
	require.Len(t, recorder.events, operations*(1+seconds/60))
	require.Equal(t, operations*perSecond*seconds, recorder.times(t))

	for range 2 {
		*now = now.Add(summaryInterval)
		r.flush(t.Context(), now.Add(-summaryInterval))
	}
	require.Empty(t, r.counts, "kinds without new refusals are forgotten")
	recorder.events = nil
	r.Record(t.Context(), "", refused("again"), 3)
	require.Equal(t, "3", recorder.events[0].Facts[FactFailed], "a batch can be refused several times at once")
}

// Refusals are counted by tenant, subject, source, operation and code. The source counts only for callers without a
// subject.
func TestRefusalKindsAreCountedSeparately(t *testing.T) {
	r, recorder, _ := newRefusals()
	record := func(source string, change func(e *Event)) {
		e := refused("getEntry")
		change(&e)
		r.Record(t.Context(), source, e, 1)
	}
	for range 2 {
		record("a", func(*Event) {})
		record("b", func(*Event) {})
		record("a", func(e *Event) { e.Tenant = "other" })
		record("a", func(e *Event) { e.Subject = "other" })
		record("a", func(e *Event) { e.Operation = "putEntry" })
		record("a", func(e *Event) { e.Code = "rate_limited" })
		record("a", func(e *Event) { e.Subject = "" })
		record("b", func(e *Event) { e.Subject = "" })
	}
	require.Len(t, recorder.events, 7)
}

// Kinds beyond the limit are counted by code alone. Refusals that could not be recorded are recorded later.
func TestRefusalsAreBounded(t *testing.T) {
	r, recorder, now := newRefusals()
	recorder.err = errors.New("full")
	for i := range 3 * maxRefusals {
		e := refused("getEntry")
		e.Subject = ""
		r.Record(t.Context(), fmt.Sprint("source ", i), e, 1)
	}
	require.Len(t, r.counts, maxRefusals+1)
	*now = now.Add(summaryInterval)
	r.flush(t.Context(), *now)
	require.Len(t, r.counts, maxRefusals+1, "no count is lost")
	recorder.err = nil
	*now = now.Add(summaryInterval)
	r.flush(t.Context(), *now)
	require.Len(t, recorder.events, maxRefusals+1)
	require.Equal(t, 3*maxRefusals, recorder.times(t))
}

// Counted refusals, also those of concurrent callers, are recorded when the server ends.
func TestCountedRefusalsAreRecordedAtTheEnd(t *testing.T) {
	r, recorder, _ := newRefusals()
	ctx, end := context.WithCancel(t.Context())
	var callers, running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	for range 8 {
		callers.Go(func() {
			for range 500 {
				r.Record(ctx, "", refused("getEntry"), 1)
			}
		})
	}
	callers.Wait()
	end()
	running.Wait()
	require.Equal(t, 8*500, recorder.times(t))
}
