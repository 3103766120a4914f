package rotation

import (
	"log/slog"
	"time"

	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// maxClockSkew is how far the clocks of two servers may differ.
const maxClockSkew = time.Hour

// DueTime returns a function for keyring.WithDueTime. The function returns the earliest time at which a keyset of the
// document gets a new primary because of its age, in milliseconds since 1970; 0 means never. An age of 0 disables
// rotation by age.
func DueTime(age time.Duration, now func() time.Time) func(*envelope.Document) int64 {
	return func(d *envelope.Document) (earliest int64) {
		for i := range d.Keysets {
			due := primaryDueTime(&d.Keysets[i], age, now())
			if due > 0 && (earliest == 0 || due < earliest) {
				earliest = due
			}
		}
		return earliest
	}
}

// primaryDueTime returns when a keyset gets a new primary, in milliseconds since 1970; 0 means never. A keyset whose
// primary may not seal, as a restore can leave it, is due immediately.
func primaryDueTime(s *envelope.Keyset, age time.Duration, now time.Time) int64 {
	switch primary := s.Key(s.Primary()); {
	case !isRotated(s.Use):
		return 0
	case primary == nil || primary.State != envelope.Enabled:
		return now.UnixMilli()
	case age == 0:
		return 0
	}
	return AgeDueTime(s, age, now)
}

// isRotated reports whether servers rotate keys of a use. They do not rotate keys of browser storage: browsers have the
// data and copies of the keys.
func isRotated(use format.Use) bool { return use >= format.UseCache && use <= format.UseFile }

// AgeDueTime returns when the newest key of a keyset reaches an age, in milliseconds since 1970. A rollback therefore
// does not make a keyset due. Keys with a creation time more than an hour ahead of now are ignored, because they would
// postpone the rotation. If the primary is such a key, AgeDueTime logs a warning and returns now.
func AgeDueTime(s *envelope.Keyset, age time.Duration, now time.Time) int64 {
	newest := int64(0)
	for i := range s.Keys {
		switch k := &s.Keys[i]; {
		case k.CreatedAt <= now.Add(maxClockSkew).UnixMilli():
			newest = max(newest, k.CreatedAt)
		case k.ID == s.Primary():
			slog.Warn("a key was made by a clock that was ahead: it is rotated now; coffer keys list names its tenant", "use", s.Use, "class", s.Class.String(),
				"created_at", time.UnixMilli(k.CreatedAt).UTC())
			return now.UnixMilli()
		}
	}
	return newest + age.Milliseconds()
}
