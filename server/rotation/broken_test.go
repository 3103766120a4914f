package rotation_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A scan that found something and was broken off before that was written down begins anew; one that only had
// its turn does not.
func TestBrokenScan(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"the same process", "another process"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			s, store := faultySite(t, nil)
			next := s
			if by == "another process" {
				next = newSite(t, s.Keystore, store, nil)
			}
			s.fill(600)
			stale := s.straggler("entry 50", "value 50")
			s.begin(rotation.Order{})
			s.work()
			stale()
			s.clock.pass(rotation.DefaultGrace + time.Second)
			_, _, err := s.Work(t.Context(), "tenant") // begins the scan
			require.NoError(t, err)
			s.Rate = 200 // a page and a checkpoint a second; the straggler is in the third page
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			store.after = cancel // nothing else is sealed anew
			_, _, err = s.Work(ctx, "tenant")
			require.ErrorContains(t, err, "context")
			store.after = nil
			require.Equal(t, 600, s.under(600))
			record, err := s.Record(t.Context(), "tenant")
			require.NoError(t, err)
			require.NotEmpty(t, record.Cursor)
			require.Zero(t, record.Counts.Former)
			require.NoError(t, s.Release(t.Context()))

			next.clock.pass(time.Until(s.clock.now()))
			next.Rate = 100 // it takes two turns
			begun := store.begun.Load()
			record = next.work()
			require.EqualValues(t, 2, store.begun.Load()-begun, "to count the entries, and to go through them")
			require.Equal(t, rotation.SecondScan, record.State)
			require.Equal(t, 600, record.Counts.Scanned)
			s.reads(600)
		})
	}
}

// What was found before a cursor was lost keeps its key.
func TestLostCursorOfScan(t *testing.T) {
	t.Parallel()
	s, store := faultySite(t, nil)
	s.fill(600)
	former := s.primaries()[classify.PHI]
	stale := s.straggler("entry 1", "value 1")
	s.begin(rotation.Order{})
	s.work()
	stale()
	s.clock.pass(rotation.DefaultGrace + time.Second)
	store.cursor.Store(true)
	record := s.work()
	require.False(t, store.cursor.Load())
	require.Equal(t, rotation.FirstScan, record.State)
	require.Equal(t, 600, record.Counts.Scanned)
	require.Equal(t, 1, record.Counts.Former)
	require.Equal(t, map[envelope.State]int{envelope.Enabled: classes + 1, envelope.Disabled: classes - 1}, s.states(format.UseCache))
	require.True(t, record.Retires(rotation.Key{Class: classify.PHI, ID: rotation.ID(former)}))
}
