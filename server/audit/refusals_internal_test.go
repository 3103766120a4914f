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

// recorded is a Recorder that keeps what it records, or fails.
type recorded struct {
	mu   sync.Mutex
	all  []Event
	fail error
}

func (r *recorded) Record(_ context.Context, events ...Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail == nil {
		r.all = append(r.all, events...)
	}
	return r.fail
}

// times adds up the refusals that the events stand for.
func (r *recorded) times(t *testing.T) (sum int) {
	t.Helper()
	for _, e := range r.all {
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

func newRefusals() (*Refusals, *recorded, *time.Time) {
	recorder, now := &recorded{}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := NewRefusals(recorder, slog.New(slog.NewTextHandler(io.Discard, nil)))
	r.now = func() time.Time { return now }
	return r, recorder, &now
}

func refused(operation string) Event {
	return Event{Action: AccessRefused, Code: "forbidden", Issuer: "coffer", Subject: "token", Tenant: "clinic", Operation: operation}
}

// A day of refusals of one token is one event a minute for each operation, and no refusal is missing from the numbers.
func TestRefusalsAreSummarised(t *testing.T) {
	r, recorder, now := newRefusals()
	const operations, perSecond, seconds = 20, 10, 3600
	for second := range seconds {
		for i := range perSecond * operations {
			r.Record(t.Context(), "192.0.2.1/32", refused(fmt.Sprint("operation ", i%operations)), 1)
		}
		if second == 0 {
			require.Len(t, recorder.all, operations, "the first of each is recorded at once")
			require.Equal(t, operations, recorder.times(t))
		}
		*now = now.Add(time.Second)
		r.flush(t.Context(), now.Add(-summaryInterval))
	}
	require.Len(t, recorder.all, operations*(1+seconds/60))
	require.Equal(t, operations*perSecond*seconds, recorder.times(t))

	for range 2 {
		*now = now.Add(summaryInterval)
		r.flush(t.Context(), now.Add(-summaryInterval))
	}
	require.Empty(t, r.known, "what does not go on is forgotten")
	recorder.all = nil
	r.Record(t.Context(), "", refused("again"), 3)
	require.Equal(t, "3", recorder.all[0].Facts[FactFailed], "of a batch, several are refused at once")
}

// Tenants, subjects, sources, operations and codes are told apart; the source only of callers without a subject.
func TestKindsOfRefusals(t *testing.T) {
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
	require.Len(t, recorder.all, 7)
}

// Kinds beyond the bound are counted by their code alone, and a failed recording is made up for later.
func TestRefusalsAreBounded(t *testing.T) {
	r, recorder, now := newRefusals()
	recorder.fail = errors.New("full")
	for i := range 3 * maxRefusals {
		e := refused("getEntry")
		e.Subject = ""
		r.Record(t.Context(), fmt.Sprint("source ", i), e, 1)
	}
	require.Len(t, r.known, maxRefusals+1)
	*now = now.Add(summaryInterval)
	r.flush(t.Context(), *now)
	require.Len(t, r.known, maxRefusals+1, "none is lost")
	recorder.fail = nil
	*now = now.Add(summaryInterval)
	r.flush(t.Context(), *now)
	require.Len(t, recorder.all, maxRefusals+1)
	require.Equal(t, 3*maxRefusals, recorder.times(t))
}

// Counted refusals are recorded when the server ends, also those of concurrent callers.
func TestRefusalsAtTheEnd(t *testing.T) {
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
