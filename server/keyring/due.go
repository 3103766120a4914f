package keyring

import (
	"context"
	"log/slog"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// WithDue sets the function that decides when somebody has to look at a keyset document, in milliseconds since
// 1970; 0 is never. It is called with each document that is written, and its answer goes into the index of due
// times of the keystore. Without it nothing is ever due. See DueAfter.
func WithDueTime(due func(*envelope.Document) int64) Option { return func(r *Keyring) { r.due = due } }

// clockSkew is how far the clocks of two servers may be apart.
const clockSkew = time.Hour

// KeysetDue returns when the newest key of a keyset reaches an age, in milliseconds since 1970. So a rollback does not make
// the keyset due. Keys that a clock far ahead of this one dated do not count: they must not postpone the rotation. If the primary is
// one of them, the keyset is due at once, with a warning.
func KeysetDue(s *envelope.Keyset, age time.Duration, now time.Time) int64 {
	newest := int64(0)
	for i := range s.Keys {
		switch k := &s.Keys[i]; {
		case k.CreatedAt <= now.Add(clockSkew).UnixMilli():
			newest = max(newest, k.CreatedAt)
		case k.ID == s.Primary():
			slog.Warn("a key was made by a clock that was ahead: it is rotated now; coffer keys list names its tenant", "use", s.Use, "class", s.Class.String(),
				"created_at", time.UnixMilli(k.CreatedAt).UTC())
			return now.UnixMilli()
		}
	}
	return newest + age.Milliseconds()
}

// Rotates reports whether servers rotate keys of a use. Keys of browsers' storage they do not: data and copies of the keys are in browsers.
func Rotates(use format.Use) bool { return use >= format.UseCache && use <= format.UseFile }

// NextPrimary returns when a keyset is to get a new primary, in milliseconds since 1970; 0 means never, as for browsers'
// storage. A keyset whose primary never seals again, as a restore can leave it, is due at once. An age of 0 means that no age is due.
func NextPrimary(s *envelope.Keyset, age time.Duration, now time.Time) int64 {
	switch primary := s.Key(s.Primary()); {
	case !Rotates(s.Use):
		return 0
	case primary == nil || primary.State != envelope.Enabled:
		return now.UnixMilli()
	case age == 0:
		return 0
	}
	return KeysetDue(s, age, now)
}

// DueAfter returns a function for WithDue: the earliest time at which one of the document's keysets is to get a new primary.
func DueAfter(age time.Duration, now func() time.Time) func(*envelope.Document) int64 {
	return func(d *envelope.Document) (earliest int64) {
		for i := range d.Keysets {
			due := NextPrimary(&d.Keysets[i], age, now())
			if due > 0 && (earliest == 0 || due < earliest) {
				earliest = due
			}
		}
		return earliest
	}
}

// swap replaces a tenant's document and its due time.
func (r *Keyring) swap(ctx context.Context, d *envelope.Document, old, content []byte) (bool, error) {
	var due int64
	if r.due != nil {
		due = r.due(d)
	}
	return keystore.Replace(ctx, r.store, keystore.Keysets, d.Owner, old, content, due)
}
