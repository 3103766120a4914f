package envelope

import (
	"slices"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// Merge merges two documents of one owner into a new one (SPEC.md section 8). It chooses whole records and computes no
// MAC, so it needs no key. It is commutative and idempotent. It is also associative, unless one id names slots of several
// roots, or a key has a later generation than the primary of its line; no writer makes such documents. So devices that
// exchange documents in any order get the same result. It returns ErrInvalid if the documents have different owners or
// environments or if the result would break a rule, and ErrTooLarge if the result would exceed a limit.
//
// Merge does not verify MACs. A caller that has the keys must verify both documents first, and then call MoveKey for each
// key that the result has under a replaced root.
func Merge(a, b *Document) (*Document, error) {
	if a.Owner != b.Owner || a.Environment != b.Environment {
		return nil, ErrInvalid
	}
	merged := &Document{Environment: a.Environment, Owner: a.Owner}
	merged.Slots = joinSorted(a.Slots, b.Slots, func(x, y *Slot) int { return compare(x.ID[:], y.ID[:]) }, preferredSlot)
	merged.Retired = joinSorted(a.Retired, b.Retired, func(x, y *RetiredSlot) int { return x.compare(&y.Root, &y.ID) }, func(x, y RetiredSlot) RetiredSlot {
		return greater(x, y, compare(x.MAC[:], y.MAC[:]))
	})
	merged.Shreds = joinSorted(a.Shreds, b.Shreds, func(x, y *ShredRecord) int { return compare(x.Line[:], y.Line[:]) }, func(x, y ShredRecord) ShredRecord {
		return greater(x, y, compare(x.append(), y.append()))
	})
	merged.Keysets = joinSorted(a.Keysets, b.Keysets, func(x, y *Keyset) int { return x.compare(y.Use, y.Class) }, mergeKeysets)
	for i := range merged.Keysets { // a keyset that is in only one document still shares its lists
		s := &merged.Keysets[i]
		s.Keys, s.Primaries = slices.Clone(s.Keys), slices.Clone(s.Primaries)
	}
	merged.RemoveVoid()
	if merged.exceedsLimits() {
		return nil, ErrTooLarge
	}
	if _, err := merged.Append(nil); err != nil {
		return nil, err
	}
	return merged, nil
}

// joinSorted merges two ascending lists. If both contain an element, it calls choose with the two copies.
func joinSorted[T any](a, b []T, compare func(x, y *T) int, choose func(x, y T) T) []T {
	var out []T
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(&a[0], &b[0]); {
		case c < 0:
			out, a = append(out, a[0]), a[1:]
		case c > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, choose(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// greater returns x if order is not negative, and y otherwise.
func greater[T any](x, y T, order int) T {
	if order >= 0 {
		return x
	}
	return y
}

func (s *Keyset) compare(use format.Use, class classify.Class) int {
	if s.Use != use {
		return int(s.Use) - int(use)
	}
	return int(s.Class) - int(class)
}

func mergeKeysets(x, y Keyset) Keyset {
	x.Primaries = joinSorted(x.Primaries, y.Primaries, func(p, q *Primary) int { return compare(p.Root.Line[:], q.Root.Line[:]) }, preferredPrimary)
	x.Keys = joinSorted(x.Keys, y.Keys, func(k, l *Key) int { return compare(k.ID[:], l.ID[:]) }, preferredKey)
	return x
}

// preferredPrimary returns the primary with the higher generation, then the higher epoch, then the greater key id.
func preferredPrimary(x, y Primary) Primary {
	switch {
	case x.Root.Generation != y.Root.Generation:
		return greater(x, y, int(int64(x.Root.Generation)-int64(y.Root.Generation)))
	case x.Epoch != y.Epoch:
		return greater(x, y, int(int64(x.Epoch)-int64(y.Epoch)))
	case x.KeyID != y.KeyID:
		return greater(x, y, compare(x.KeyID[:], y.KeyID[:]))
	}
	return greater(x, y, compare(x.Append(nil), y.Append(nil)))
}

// preferredKey returns a destroyed key, then the key with the newer root, then the key with the later state.
func preferredKey(x, y Key) Key {
	rank := x.Root.compareRank(&y.Root)
	switch {
	case (x.State == Destroyed) != (y.State == Destroyed):
		return greater(x, y, int(x.State)-int(y.State))
	case rank != 0:
		return greater(x, y, rank)
	case x.State != y.State:
		return greater(x, y, int(x.State)-int(y.State))
	}
	return greater(x, y, compare(x.Append(nil), y.Append(nil)))
}

// preferredSlot returns the slot with the newer root. The root of a slot never changes, so two copies of a slot differ only
// if one of them is forged or damaged.
func preferredSlot(x, y Slot) Slot {
	if rank := x.Root.compareRank(&y.Root); rank != 0 {
		return greater(x, y, rank)
	}
	return greater(x, y, compare(x.Append(nil), y.Append(nil)))
}
