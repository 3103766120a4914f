package envelope

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Merge joins two documents of one owner into a new one: the union of slots and keys, each in the later of
// its two states; the primary of the higher epoch, of equal epochs the higher key id. It is commutative,
// associative and idempotent, so devices that exchange documents in any order end with the same one. It
// returns ErrInvalid for documents of different owners or environments.
func Merge(a, b *Document) (*Document, error) {
	if a.Owner != b.Owner || a.Environment != b.Environment {
		return nil, ErrInvalid
	}
	merged := &Document{Environment: a.Environment, Owner: a.Owner}
	merged.Slots = join(a.Slots, b.Slots, func(x, y *Slot) int { return slices.Compare(x.ID[:], y.ID[:]) }, laterSlot)
	merged.Keysets = join(a.Keysets, b.Keysets, func(x, y *Keyset) int { return x.compare(y.Use, y.Class) }, mergeKeysets)
	for i := range merged.Keysets {
		merged.Keysets[i].Keys = slices.Clone(merged.Keysets[i].Keys) // a keyset that only one side has shares its keys with it
	}
	if err := merged.Check(); err != nil {
		return nil, err
	}
	return merged, nil
}

// Restore merges an earlier copy of an owner's document into the present one. Where that is shredded, what
// the copy has that is no newer than what was shredded is shredded too: nothing brings it back. What is newer
// is of an owner that began anew. The copy is changed. It returns Merge's errors.
func Restore(present, copied *Document) (*Document, error) {
	if present.Shredded() {
		copied.ShredUntil(present.Newest())
	}
	return Merge(present, copied)
}

// Keeps reports whether nothing of an earlier copy of the document was lost: its slots and keys are there, in
// the same states or later ones, and its primaries are, or were followed by others.
func (d *Document) Keeps(earlier *Document) bool {
	for i := range earlier.Slots {
		s := &earlier.Slots[i]
		if !slices.ContainsFunc(d.Slots, func(now Slot) bool { return now.ID == s.ID && now.State >= s.State }) {
			return false
		}
	}
	for i := range earlier.Keysets {
		was := &earlier.Keysets[i]
		now := d.Keyset(was.Use, was.Class)
		if now == nil || now.Epoch < was.Epoch {
			return false
		}
		for j := range was.Keys {
			if at, ok := now.find(was.Keys[j].ID); !ok || now.Keys[at].State < was.Keys[j].State {
				return false
			}
		}
	}
	return true
}

// join merges two ascending lists; where both have an element, both decides.
func join[T any](a, b []T, compare func(x, y *T) int, both func(x, y T) T) []T {
	var out []T
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(&a[0], &b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, both(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func (s *Keyset) compare(use format.Use, class classify.Class) int {
	if s.Use != use {
		return int(s.Use) - int(use)
	}
	return int(s.Class) - int(class)
}

func mergeKeysets(x, y Keyset) Keyset {
	if y.Epoch > x.Epoch || y.Epoch == x.Epoch && compareIDs(y.Primary, x.Primary) > 0 {
		x.Epoch, x.Primary = y.Epoch, y.Primary
	}
	x.Keys = join(x.Keys, y.Keys, func(k, l *Key) int { return compareIDs(k.ID, l.ID) }, laterKey)
	return x
}

// laterKey takes the later state; of equal ones the greater encoding, so that a join of two rewraps is the
// same either way.
func laterKey(x, y Key) Key {
	if x.State > y.State || x.State == y.State && slices.Compare(x.Append(nil), y.Append(nil)) >= 0 {
		return x
	}
	return y
}

// laterSlot is laterKey for slots.
func laterSlot(x, y Slot) Slot {
	if x.State > y.State || x.State == y.State && slices.Compare(x.Append(nil), y.Append(nil)) >= 0 {
		return x
	}
	return y
}
