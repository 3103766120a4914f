package rotation_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// completeRotation rotates a class until its former key is destroyed or the rotation is rolled back. It repeats each
// step after an error.
func (s *site) completeRotation(back bool) {
	s.t.Helper()
	again := func(do func() error) {
		for try := 0; ; try++ {
			err := do()
			if err == nil {
				return
			}
			require.Less(s.t, try, 20, "%s", err)
			s.clock.advance(2 * time.Minute)
		}
	}
	again(func() error {
		_, err := s.Begin(s.t.Context(), "tenant", rotation.Order{Class: classify.PHI})
		return err
	})
	work := func(to rotation.State) {
		again(func() error {
			for {
				if did, err := s.RunPending(s.t.Context()); err != nil {
					return err
				} else if !did {
					break
				}
			}
			if state := s.record().State; state != to {
				return fmt.Errorf("it is %s: %+v, %+v", state, s.record(), s.sweep())
			}
			return nil
		})
	}
	work(rotation.Grace)
	if back {
		again(func() error { _, err := s.Rollback(s.t.Context(), "tenant", rotation.Requester{}); return err })
		return
	}
	s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
	work(rotation.Done)
}

// Whichever write of the keystore fails, nothing is lost and the rotation ends. No event reports a change that did not
// happen, and no change is missing in the events.
func TestRotationSurvivesKeystoreFaults(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		for _, fault := range keystoretest.Faults {
			t.Run(fmt.Sprintf("%s, back: %t", fault, back), func(t *testing.T) {
				t.Parallel()
				writes := rotateWithFault(t, 1, fault, back)
				if os.Getenv("COFFER_KILLS") == "" { // make soak tries every write
					for range 2 {
						rotateWithFault(t, 2+rand.IntN(writes-1), fault, back)
					}
					return
				}
				for n := 2; n <= writes; n++ {
					rotateWithFault(t, n, fault, back)
				}
			})
		}
	}
}

func rotateWithFault(t *testing.T, n int, fault keystoretest.Fault, back bool) (writes int) {
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	before := 0
	keys := keystoretest.NewFaultyStore(directory(t, t.TempDir()), func(w keystoretest.Write) keystoretest.Fault {
		if before > 0 && w.N == before+n {
			return fault
		}
		return keystoretest.NoFault
	})
	keys.Pause = time.Millisecond
	log := &eventLog{}
	s := newSite(t, keys, store, func(o *rotation.Options) { o.Audit = log })
	defer s.Keyring.Close()
	s.fill(10)
	former := s.primaries()[classify.PHI]
	before = keys.Writes()
	s.completeRotation(back)
	writes = keys.Writes() - before
	keys.ApplyLateWrites()
	s.requireReadable(10)
	now := s.primaries()[classify.PHI]
	d, err := s.Keyring.Document(t.Context(), "tenant")
	require.NoError(t, err)
	states := map[format.KeyID]envelope.State{}
	for _, k := range d.Keyset(format.UseCache, classify.PHI).Keys {
		states[k.ID] = k.State
	}
	if back {
		require.Equal(t, former, now, "write %d", n)
	} else {
		require.NotEqual(t, former, now)
		require.Equal(t, envelope.Destroyed, states[former], "write %d", n)
	}
	require.Len(t, states, 2, "write %d: one new primary", n)
	happened := map[audit.Action]int{}
	jobs := map[string]int{}
	for _, e := range log.events {
		change := 1
		if e.Code != "" {
			change = -1
		}
		happened[e.Action] += change
		jobs[e.Facts[audit.FactJob]] += change
	}
	require.GreaterOrEqual(t, happened[audit.KeyRotate], 1)
	if back {
		require.GreaterOrEqual(t, happened[audit.KeyRollback], 1, "write %d", n)
		require.Zero(t, happened[audit.KeyDestroy])
	} else {
		require.GreaterOrEqual(t, happened[audit.KeyDestroy], 1, "write %d", n)
		require.Zero(t, happened[audit.KeyRollback])
	}
	return writes
}
