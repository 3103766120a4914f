package rotation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// A key made by a clock far ahead must not postpone the rotation: its keyset is due immediately.
func TestKeyFromTheFutureIsDueNow(t *testing.T) {
	const age = 90 * 24 * time.Hour
	now := time.UnixMilli(1_764_364_000_000)
	for ahead, want := range map[time.Duration]time.Time{
		0: now.Add(age), time.Minute: now.Add(age + time.Minute), 70 * 365 * 24 * time.Hour: now,
	} {
		key := envelope.Key{State: envelope.Enabled, CreatedAt: now.Add(ahead).UnixMilli()}
		set := envelope.Keyset{Use: format.UseCache, Class: classify.PHI, Keys: []envelope.Key{key}, Primaries: []envelope.Primary{{Epoch: 1}}}
		require.Equal(t, want.UnixMilli(), AgeDueTime(&set, age, now), ahead)
		d := &envelope.Document{Keysets: []envelope.Keyset{set}}
		require.Equal(t, want.UnixMilli(), DueTime(age, func() time.Time { return now })(d), ahead)
	}
}
