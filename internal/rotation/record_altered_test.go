package rotation_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/keystoretest"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A process that can write to the keystore must not decide which key is destroyed, or which caller the audit log names.
// A record or a sweep is refused after any change, and if it was copied from another tenant.
func TestAlteredRecordsAreRefused(t *testing.T) {
	t.Parallel()
	store, err := sqlitekv.Open(t.TempDir(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := newSite(t, keystoretest.NewMemory(), store, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	s.runAll()
	record := func() error { _, err := s.Record(t.Context(), "tenant"); return err }
	sweep := func() error { _, err := s.CurrentSweep(t.Context()); return err }
	for document, err := range keystore.All(t.Context(), s.Keystore, keystore.Sweeps) {
		require.NoError(t, err)
		for _, c := range []struct {
			kind keystore.Kind
			name string
			read func() error
		}{{keystore.Rotations, "tenant", record}, {keystore.Sweeps, document.Name, sweep}} {
			content, err := s.Keystore.Get(t.Context(), c.kind, c.name)
			require.NoError(t, err)
			require.NoError(t, c.read())
			text, _, _ := bytes.Cut(content, []byte("\n"))
			altered := [][]byte{text, append(bytes.Clone(text), '\n'), content[1:]}
			for i := range content {
				one := bytes.Clone(content)
				one[i] ^= 1
				altered = append(altered, one)
			}
			for _, one := range altered {
				keystoretest.Put(t, s.Keystore, c.kind, c.name, one)
				require.Error(t, c.read(), "%s", one)
			}
			keystoretest.Put(t, s.Keystore, c.kind, c.name, content)
			require.NoError(t, c.read())
			keystoretest.Put(t, s.Keystore, keystore.Rotations, "other", content)
			_, err = s.Record(t.Context(), "other")
			require.Error(t, err)
		}
	}
}

// An altered record or sweep is replaced. The former keys are destroyed after two more sweeps. If the record is lost,
// they are kept for as long as after a rotation.
func TestAlteredRecordsAreReplaced(t *testing.T) {
	t.Parallel()
	for kind, keeps := range map[keystore.Kind]int{keystore.Rotations: 25, keystore.Sweeps: 1} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newLocalSite(t, nil)
			s.fill(10)
			s.begin(rotation.Order{})
			require.Equal(t, rotation.Grace, s.runAll().State)
			s.clock.advance(rotation.DefaultGrace + s.Keyring.TTL() + rotation.Margin + time.Second)
			for document, err := range keystore.All(t.Context(), s.Keystore, kind) {
				require.NoError(t, err)
				_, err = keystore.Replace(t.Context(), s.Keystore, kind, document.Name, document.Content, []byte("garbled"), s.clock.now().UnixMilli())
				require.NoError(t, err)
			}
			_, err := s.RunPending(t.Context())
			require.ErrorContains(t, err, "damaged or was altered")
			for hours := 0; s.states(format.UseCache)[envelope.Destroyed] == 0; hours++ {
				require.Less(t, hours, 40)
				_, err = s.RunPending(t.Context())
				require.NoError(t, err)
				if hours < keeps {
					require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
				}
				s.clock.advance(time.Hour)
			}
			require.Equal(t, classes, s.states(format.UseCache)[envelope.Destroyed])
			s.requireReadable(10)
		})
	}
}

// An altered record that was not due soon, for example in the grace period, does not make a sweep incomplete that finds
// an entry of the tenant. The record that replaces it is due at once.
func TestAlteredRecordStaysDue(t *testing.T) {
	t.Parallel()
	garble := func(s *site) {
		content, err := s.Keystore.Get(t.Context(), keystore.Rotations, "tenant")
		require.NoError(t, err)
		_, err = keystore.Replace(t.Context(), s.Keystore, keystore.Rotations, "tenant", content, []byte("garbled"), s.clock.now().Add(20*time.Hour).UnixMilli())
		require.NoError(t, err)
	}
	t.Run("sweep", func(t *testing.T) {
		t.Parallel()
		s := newLocalSite(t, nil)
		s.SetRetryWait(time.Microsecond)
		s.fill(10)
		stale := s.prepareLateWrite("entry 3", "value 3")
		s.begin(rotation.Order{})
		require.Equal(t, rotation.Grace, s.runAll().State)
		stale()
		garble(s)
		other, err := s.Keyring.Tenant(t.Context(), "other")
		require.NoError(t, err)
		_, err = other.Primary(t.Context(), format.UseCache, classify.PHI)
		require.NoError(t, err)
		_, err = s.Begin(t.Context(), "other", rotation.Order{})
		require.NoError(t, err)
		for did := true; did; {
			did, err = s.RunPending(t.Context())
			require.NoError(t, err)
		}
		require.Empty(t, s.sweep().Fault)
		require.Equal(t, 10, s.entriesUnderPrimary(10))
	})
	t.Run("uses", func(t *testing.T) {
		t.Parallel()
		s := newLocalSite(t, func(o *rotation.Options) { o.MaxUses = 1 << 40 })
		s.fill(10)
		s.begin(rotation.Order{})
		require.Equal(t, rotation.Grace, s.runAll().State)
		garble(s)
		s.fill(10) // counts uses
		s.serveUntil(func() bool {
			record, err := s.Record(t.Context(), "tenant")
			return err == nil && len(record.Sealed) > 0
		})
		for hours := 0; s.states(format.UseCache)[envelope.Destroyed] < classes; hours++ {
			require.Less(t, hours, 40)
			s.clock.advance(time.Hour)
			s.runAll()
		}
	})
}

// A record that replaced an altered one keeps the former keys while an entry of its tenant does not open.
func TestReplacedRecordKeepsKeysOfUnreadableEntries(t *testing.T) {
	t.Parallel()
	s, f := newFaultySite(t, nil)
	s.fill(10)
	stale := s.prepareLateWrite("entry 3", "value 3")
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.runAll().State)
	stale()
	content, err := s.Keystore.Get(t.Context(), keystore.Rotations, "tenant")
	require.NoError(t, err)
	_, err = keystore.Replace(t.Context(), s.Keystore, keystore.Rotations, "tenant", content, []byte("garbled"), s.clock.now().UnixMilli())
	require.NoError(t, err)
	_, err = s.RunPending(t.Context())
	require.ErrorContains(t, err, "damaged or was altered")
	f.unreadableKey = "coffer/tenant/cache/entry 3"
	for range 40 {
		s.clock.advance(time.Hour)
		s.runAll()
	}
	require.Zero(t, s.states(format.UseCache)[envelope.Destroyed])
	f.unreadableKey = ""
	s.clock.advance(time.Hour)
	s.runAll()
	s.requireReadable(10)
}

// A record that a failover lost is restored, so that the former keys do not wait for the next rotation.
func TestLostRecordIsRestored(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, nil)
	s.fill(10)
	s.begin(rotation.Order{})
	require.Equal(t, rotation.Grace, s.runAll().State)
	keystoretest.Put(t, s.Keystore, keystore.Rotations, "tenant", nil)
	require.NoError(t, rotation.Repair(s.Rotator, t.Context()))
	require.Len(t, s.runAll().Former, classes)
	for hours := 0; s.states(format.UseCache)[envelope.Destroyed] < classes; hours++ {
		require.Less(t, hours, 40)
		require.Equal(t, hours <= 25, s.states(format.UseCache)[envelope.Destroyed] == 0, "the new record waits as long as a new rotation")
		s.clock.advance(time.Hour)
		s.runAll()
	}
	s.requireReadable(10)
}
