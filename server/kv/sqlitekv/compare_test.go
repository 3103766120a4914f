package sqlitekv

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
)

// A comparison that finds damage reports it.
func TestComparisonReportsDamage(t *testing.T) {
	t.Parallel()
	for _, at := range []int{chunkSize / 2, 5 * chunkSize / 2} { // in the first chunk and in a part
		dir := t.TempDir()
		s, err := Open(dir, nil)
		require.NoError(t, err)
		value := make([]byte, 8*chunkSize)
		for i := range value {
			value[i] = byte(i / 3000)
		}
		mark := []byte("this byte is damaged")
		copy(value[at:], mark)
		require.NoError(t, kv.Set(t.Context(), s, "k", value, 0))
		require.NoError(t, s.Close())
		path := filepath.Join(dir, fileName)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		i := bytes.Index(content, mark)
		require.Positive(t, i)
		content[i] ^= 1
		require.NoError(t, os.WriteFile(path, content, 0o600))
		s, err = Open(dir, nil)
		require.NoError(t, err)
		_, err = s.Write(t.Context(), []kv.Write{{Key: "k", Value: []byte("x"), If: kv.Equals, Old: value}})
		require.ErrorIs(t, err, kv.ErrDamaged)
		require.ErrorIs(t, s.Check(t.Context()), kv.ErrDamaged)
		require.NoError(t, s.Close())
	}
}

// Close waits for calls that take several turns, and these calls end.
func TestCloseWaitsForTurns(t *testing.T) {
	t.Parallel()
	value := make([]byte, (2+2*partsPerTurn)*chunkSize)
	for name, call := range map[string]func(s *Store) error{
		"read": func(s *Store) error {
			_, err := s.Read(t.Context(), []string{"k"}, len(value))
			return err
		},
		"compare": func(s *Store) error {
			_, err := s.Write(t.Context(), []kv.Write{{Key: "k", Op: kv.Remove, If: kv.Equals, Old: value}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, t.TempDir())
			s.stopMaintenance() // no maintenance, which would use a connection
			<-s.maintenanceDone
			require.NoError(t, kv.Set(t.Context(), s, "k", value, 0))
			var readers []*conn
			for range cap(s.readers) {
				readers = append(readers, <-s.readers)
			}
			result := make(chan error, 1)
			go func() { result <- call(s) }()
			require.Eventually(t, func() bool { // until the call has begun
				free := s.mu.TryLock()
				if free {
					s.mu.Unlock()
				}
				return !free
			}, time.Minute, time.Millisecond)
			closed := make(chan error, 1)
			go func() { closed <- s.Close() }()
			require.Eventually(t, func() bool { // until Close waits for the call
				free := s.mu.TryRLock()
				if free {
					s.mu.RUnlock()
				}
				return !free
			}, time.Minute, time.Millisecond)
			for _, r := range readers {
				s.readers <- r
			}
			for _, end := range []chan error{result, closed} {
				select {
				case err := <-end:
					require.NoError(t, err)
				case <-time.After(time.Minute):
					require.Fail(t, "the call or Close did not end")
				}
			}
		})
	}
}
