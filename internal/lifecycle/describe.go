package lifecycle

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/coffer-storage/coffer/internal/rotation"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// Keyset describes the keys of a tenant's use and class. It contains no key material, wrapped or not.
type Keyset struct {
	Tenant         string         `json:"tenant"`
	Use            string         `json:"use"`
	Class          string         `json:"class"`
	Epoch          uint32         `json:"epoch"`
	Primary        string         `json:"primary"`
	RotatedAt      rotation.Time  `json:"rotatedAt"`
	NextRotationAt *rotation.Time `json:"nextRotationAt,omitempty"` // nil: not automatically
	Keys           []KeyInfo      `json:"keys"`                     // the primary first, then the others from newest to oldest
}

// KeyInfo describes a key.
type KeyInfo struct {
	ID        string        `json:"id"`
	State     string        `json:"state"`
	CreatedAt rotation.Time `json:"createdAt"`
}

// Describe returns the descriptions of a tenant's keysets. NextRotationAt is when the rotator gives them new primaries.
func Describe(d *envelope.Document, rotator *rotation.Rotator) []Keyset {
	all := make([]Keyset, len(d.Keysets))
	for i := range d.Keysets {
		s := &d.Keysets[i]
		all[i] = Keyset{
			Tenant: d.Owner, Use: s.Use.String(), Class: s.Class.String(), Epoch: s.Epoch(), Primary: hexOf(s.Primary()),
			RotatedAt: rotation.TimeFromMilli(s.RotatedAt()), Keys: describeKeys(s),
		}
		if due := rotator.DueAt(s); due != 0 {
			at := rotation.TimeFromMilli(due)
			all[i].NextRotationAt = &at
		}
	}
	return all
}

func describeKeys(s *envelope.Keyset) []KeyInfo {
	keys := slices.Clone(s.Keys)
	rank := func(k *envelope.Key) int {
		if k.ID == s.Primary() {
			return 0
		}
		return 1
	}
	slices.SortFunc(keys, func(a, b envelope.Key) int {
		return cmp.Or(rank(&a)-rank(&b), cmp.Compare(b.CreatedAt, a.CreatedAt), strings.Compare(string(a.ID[:]), string(b.ID[:])))
	})
	all := make([]KeyInfo, len(keys))
	for i, k := range keys {
		all[i] = KeyInfo{hex.EncodeToString(k.ID[:]), k.State.String(), rotation.TimeFromMilli(k.CreatedAt)}
	}
	return all
}

func hexOf(id format.KeyID) string { return hex.EncodeToString(id[:]) }
