package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// State is the state of a data key. A state only advances: it is never set to a lower value.
type State uint8

// The states, in the order in which they advance.
const (
	Enabled     State = 1 // opens packages, and seals while it is the primary
	Compromised State = 2 // opens packages, so that they can be re-encrypted; does not seal
	Disabled    State = 3 // neither seals nor opens; the wrapped key is kept
	Destroyed   State = 4 // the wrapped key was removed; only the id remains
)

var stateNames = [...]string{Enabled: "enabled", Compromised: "compromised", Disabled: "disabled", Destroyed: "destroyed"}

// String returns the state's name, or "unknown".
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// CanOpen returns nil if a key in this state opens packages. Otherwise it returns ErrKeyUnusable or ErrKeyDestroyed.
func (s State) CanOpen() error {
	switch s {
	case Enabled, Compromised:
		return nil
	case Destroyed:
		return ErrKeyDestroyed
	default:
		return ErrKeyUnusable
	}
}

// Key is one wrapped data key.
type Key struct {
	ID        format.KeyID // key id, a commitment to the key
	State     State
	CreatedAt int64  // milliseconds since 1970-01-01T00:00:00Z
	Root      Root   // root that wraps the key; its line never changes
	Wrapped   []byte // nonce, ciphertext and tag of AES-256-GCM under the root's wrapping key; empty if destroyed
	MAC       [MACSize]byte
}

// Append appends the key's encoding to dst.
func (k *Key) Append(dst []byte) []byte {
	c := codec{write: true, bytes: dst}
	k.fields(&c)
	return c.bytes
}

func (k *Key) fields(c *codec) {
	k.body(c)
	c.fixed(k.MAC[:])
}

func (k *Key) body(c *codec) {
	c.fixed(k.ID[:])
	c.uint8((*uint8)(&k.State))
	c.int64(&k.CreatedAt)
	k.Root.fields(c)
	c.bytes16(&k.Wrapped)
}

// Primary names the key of a keyset that seals.
type Primary struct {
	Root  Root   // root that authenticates the record
	Epoch uint32 // counts the changes of the primary, from 1
	KeyID format.KeyID
	MAC   [MACSize]byte
}

// Append appends the primary's encoding to dst.
func (p *Primary) Append(dst []byte) []byte {
	c := codec{write: true, bytes: dst}
	p.fields(&c)
	return c.bytes
}

func (p *Primary) fields(c *codec) {
	p.body(c)
	c.fixed(p.MAC[:])
}

func (p *Primary) body(c *codec) {
	p.Root.fields(c)
	c.uint32(&p.Epoch)
	c.fixed(p.KeyID[:])
}

// Keyset contains the keys of one use and class. A primary names the key that seals. A rollback is a new epoch whose
// primary names an earlier key.
type Keyset struct {
	Use       format.Use
	Class     classify.Class
	Primaries []Primary // one for each line that has keys in the keyset, ascending by line
	Keys      []Key     // ascending by ID
}

// noPrimary is the effective primary of a keyset that has no primary. It must not be changed.
var noPrimary Primary

// effectivePrimary returns the primary with the highest epoch, and of equal epochs the one with the greater key id, among
// those whose root is open. It returns &noPrimary if it finds no primary.
func (s *Keyset) effectivePrimary(opened func(Root) bool) *Primary {
	best := &noPrimary
	for i := range s.Primaries {
		p := &s.Primaries[i]
		if opened(p.Root) && (p.Epoch > best.Epoch || p.Epoch == best.Epoch && compare(p.KeyID[:], best.KeyID[:]) > 0) {
			best = p
		}
	}
	return best
}

// Primary returns the key id of the effective primary, which is the one with the highest epoch. The key seals only if it is
// enabled. The id is zero if the keyset has no primary.
func (s *Keyset) Primary() format.KeyID { return s.effectivePrimary(anyRoot).KeyID }

// Epoch returns the epoch of the effective primary, or 0 if the keyset has no primary.
func (s *Keyset) Epoch() uint32 { return s.effectivePrimary(anyRoot).Epoch }

func anyRoot(Root) bool { return true }

// RotatedAt returns when the newest key of the keyset was created, in milliseconds since 1970-01-01T00:00:00Z. This is
// the time of the last rotation, even if it was rolled back.
func (s *Keyset) RotatedAt() (at int64) {
	for i := range s.Keys {
		at = max(at, s.Keys[i].CreatedAt)
	}
	return at
}

// setPrimary makes k the primary in a new epoch. It returns ErrTooLarge if the epochs are used up.
func (s *Keyset) setPrimary(k *Key) error {
	epoch := s.Epoch()
	if epoch == 1<<32-1 {
		return ErrTooLarge
	}
	i, found := s.findPrimary(&k.Root.Line)
	if !found {
		s.Primaries = insertAt(s.Primaries, i, &Primary{})
	}
	s.Primaries[i] = Primary{Root: k.Root, Epoch: epoch + 1, KeyID: k.ID}
	return nil
}

// findKey returns the position of the key with an id, or the position at which to insert it.
func (s *Keyset) findKey(id *format.KeyID) (int, bool) {
	return search(len(s.Keys), func(i int) int { return compare(s.Keys[i].ID[:], id[:]) })
}

// Key returns the key with an id, or nil if the keyset does not contain it.
func (s *Keyset) Key(id format.KeyID) *Key {
	if i, ok := s.findKey(&id); ok {
		return &s.Keys[i]
	}
	return nil
}
