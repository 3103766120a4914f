package sqlitekv

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// endingContext is canceled after its error was asked for some number of times.
type endingContext struct {
	context.Context
	left atomic.Int64
}

func (c *endingContext) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// leftParts returns the number of parts of discarded blobs.
func leftParts(t *testing.T, s *Store) int64 {
	t.Helper()
	c := <-s.writer
	defer func() { s.writer <- c }()
	n, err := c.Int("SELECT count(*) FROM parts WHERE id >> ? IN (SELECT blob FROM discarded)", int64(partBits))
	require.NoError(t, err)
	return n
}

// A client that repeatedly cancels its writes of large values, or lets large values expire, leaves no more parts than a
// few calls write, however fast it is. The quota does not count these parts, so they could fill the disk.
func TestAbandonedPartsAreBounded(t *testing.T) {
	t.Parallel()
	const parts = 16
	key, value := kv.Prefix("a", "cache")+"k", make([]byte, (1+parts)*chunkSize)
	for name, leave := range map[string]func(s *Store) error{
		"canceled writes": func(s *Store) error {
			ctx := &endingContext{Context: t.Context()}
			ctx.left.Store(parts)
			_ = kv.Set(ctx, s, key, value, 0)
			return nil
		},
		"canceled overwrites": func(s *Store) error {
			if err := kv.Set(t.Context(), s, key, value, 0); err != nil {
				return err
			}
			ctx := &endingContext{Context: t.Context()}
			ctx.left.Store(1)
			return kv.Set(ctx, s, key, nil, 0)
		},
		"expired values": func(s *Store) error {
			err := kv.Set(t.Context(), s, key, value, time.Millisecond)
			for err == nil && s.usesBytes(t) {
				err = s.removeExpired(t.Context())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, t.TempDir())
			s.stopMaintenance() // no maintenance, which is slower than many clients
			<-s.maintenanceDone
			for range 20 {
				require.NoError(t, leave(s))
				require.LessOrEqual(t, leftParts(t, s), int64(2*parts))
			}
			require.NoError(t, kv.Set(t.Context(), s, kv.Prefix("b", "cache")+"k", value, 0))
			require.NoError(t, s.removeDiscarded(t.Context()))
			require.Zero(t, leftParts(t, s))
			require.Empty(t, s.abandoned.owners)
		})
	}
}

func (s *Store) usesBytes(t *testing.T) bool {
	n, err := s.Bytes(t.Context())
	require.NoError(t, err)
	return n > 0
}

// The time to remove an abandoned blob does not depend on how many owners have one.
func TestRemovingAbandonedBlobIsFast(t *testing.T) {
	t.Parallel()
	var l abandonedBlobs
	const n = 500_000 // a linear search among the owners would take hours
	for i := range int64(n) {
		l.add(strconv.FormatInt(i, 10), i)
	}
	for i := range int64(n) {
		l.forget(i)
	}
	require.Empty(t, l.owners)
	require.Empty(t, l.ownerOf)
}
