package rotation_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/rotation"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A rotation of another class leaves that of a compromised key what it is: without grace, without a way back,
// at full rate.
func TestCompromisedStays(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"re-encryption", "grace"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			s := local(t, func(o *rotation.Options) { o.Rate = 1 })
			s.fill(200)
			leaked := s.primaries()[classify.PHI]
			s.begin(rotation.Order{Class: classify.PHI, Compromised: true})
			if when == "grace" {
				s.work()
			}
			record := s.begin(rotation.Order{Class: classify.PII})
			require.True(t, record.Compromised)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: classes + 1, envelope.Compromised: 1}, s.states(format.UseCache))
			_, err := s.Rollback(t.Context(), "tenant", rotation.By{})
			require.ErrorIs(t, err, rotation.ErrNoWayBack)
			begun := time.Now()
			record = s.work()
			require.Less(t, time.Since(begun), time.Minute, "200 entries at one a second")
			require.Equal(t, rotation.Grace, record.State)
			require.LessOrEqual(t, record.Next, s.clock.now().Add(s.Ring.TTL()).UnixMilli())
			for range 2 {
				s.clock.pass(s.Ring.TTL() + time.Second)
				s.Rate = 0
				record = s.work()
			}
			require.False(t, record.Retires(rotation.Key{Class: classify.PHI, ID: rotation.ID(leaked)}))
			require.Equal(t, map[envelope.State]int{envelope.Enabled: classes + 1, envelope.Destroyed: 1}, s.states(format.UseCache))
			require.Equal(t, rotation.Grace, record.State, "that of the other class has its grace")
			require.False(t, record.Compromised)
			before := s.primaries()
			_, err = s.Rollback(t.Context(), "tenant", rotation.By{})
			require.NoError(t, err)
			require.NotEqual(t, before[classify.PII], s.primaries()[classify.PII])
			require.Equal(t, before[classify.PHI], s.primaries()[classify.PHI])
			s.reads(200)
		})
	}
}

// A rollback takes back all rotations whose former keys no scan was for, each class to where it was before the first.
func TestRollbackOfSeveral(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(50)
	before := s.primaries()
	field, err := s.tenant().Primary(format.UseField, classify.PHI)
	require.NoError(t, err)
	s.begin(rotation.Order{})
	s.work()
	s.begin(rotation.Order{Class: classify.PII})
	require.Len(t, s.work().Report().Keysets, classes+1)
	record, err := s.Rollback(t.Context(), "tenant", rotation.By{})
	require.NoError(t, err)
	require.Equal(t, rotation.RolledBack, record.State)
	require.Equal(t, before, s.primaries())
	now, err := s.tenant().Primary(format.UseField, classify.PHI)
	require.NoError(t, err)
	require.Equal(t, field, now)
	s.reads(50)
}

// What the first scan was clean of is not taken back by the rollback of a later rotation.
func TestRollbackAfterScan(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(50)
	s.begin(rotation.Order{})
	s.work()
	s.clock.pass(rotation.DefaultGrace + time.Second)
	require.Equal(t, rotation.SecondScan, s.work().State)
	before := s.primaries()
	s.begin(rotation.Order{Class: classify.PII})
	require.Equal(t, rotation.SecondScan, s.work().State, "the earlier one's keys are due first")
	_, err := s.Rollback(t.Context(), "tenant", rotation.By{})
	require.NoError(t, err)
	require.Equal(t, before, s.primaries())
	s.reads(50)
}

// Former keys are destroyed, each when it is due, also where rotations come more often than a grace period ends.
func TestFrequentRotations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every time.Duration
		times int
	}{"a day": {23 * time.Hour, 12}, "an hour": {59 * time.Minute, 40}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := local(t, nil)
			s.fill(10)
			var record *rotation.Record
			for range c.times {
				s.begin(rotation.Order{Class: classify.PII})
				s.work()
				s.clock.pass(c.every)
				record = s.work()
			}
			most := int((rotation.DefaultGrace+2*s.Ring.TTL())/c.every) + 2
			require.LessOrEqual(t, len(record.Former), most)
			require.LessOrEqual(t, len(record.Keysets), most)
			require.Less(t, most, c.times)
			require.GreaterOrEqual(t, s.states(format.UseCache)[envelope.Destroyed], c.times-most)
			s.reads(10)
		})
	}
}

// A rotation that was begun by a version before goes on, in whichever state it is.
func TestEarlierRecords(t *testing.T) {
	t.Parallel()
	for _, state := range []rotation.State{
		rotation.Rotating, rotation.Reencrypting, rotation.Grace, rotation.FirstScan, rotation.Disabling, rotation.SecondScan, rotation.Destroying,
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			s := local(t, nil)
			s.fill(10)
			former := s.primaries()[classify.PHI]
			keyset := map[string]any{"use": format.UseCache, "class": classify.PHI, "epoch": 1, "from": rotation.ID(former)}
			record := map[string]any{
				"version": 1, "tenant": "tenant", "environment": "test", "id": "one", "state": state, "compromised": false,
				"keysets": []any{keyset}, "former": []any{map[string]any{"class": classify.PHI, "id": rotation.ID(former)}},
				"begun": 1, "rotated": 1, "next": 0, "ended": 0, "counts": map[string]any{},
			}
			if state != rotation.Rotating {
				_, err := s.tenant().Rotate(t.Context(), format.UseCache, classify.PHI, nil)
				require.NoError(t, err)
			} else {
				delete(record, "former")
			}
			content, err := json.Marshal(record)
			require.NoError(t, err)
			swapped, err := s.Keystore.Swap(t.Context(), keystore.Rotations, "tenant", nil, content, 0)
			require.NoError(t, err)
			require.True(t, swapped)
			s.reads(10)
			if state != rotation.Rotating { // what the version before had done by then
				s.fill(10)
			}
			for range 3 {
				s.work()
				s.clock.pass(rotation.DefaultGrace + time.Second)
			}
			require.Equal(t, rotation.Done, s.work().State)
			require.Equal(t, map[envelope.State]int{envelope.Enabled: classes, envelope.Destroyed: 1}, s.states(format.UseCache))
			s.reads(10)
		})
	}
}

// A record that a later version wrote is named as that, is no damage, and stays as it is.
func TestLaterRecord(t *testing.T) {
	t.Parallel()
	s := local(t, nil)
	s.fill(1)
	later := []byte(`{"version":99,"tenant":"tenant","environment":"test","state":"grace","keysets":"of another shape"}`)
	for _, content := range [][]byte{later, []byte(`{"version":99}`)} {
		old, err := s.Keystore.Get(t.Context(), keystore.Rotations, "tenant")
		require.NoError(t, err)
		swapped, err := s.Keystore.Swap(t.Context(), keystore.Rotations, "tenant", old, content, 0)
		require.NoError(t, err)
		require.True(t, swapped)
		_, err = s.Begin(t.Context(), "tenant", rotation.Order{})
		require.ErrorIs(t, err, envelope.ErrUnsupportedVersion)
		now, err := s.Keystore.Get(t.Context(), keystore.Rotations, "tenant")
		require.NoError(t, err)
		require.Equal(t, content, now)
	}
}
