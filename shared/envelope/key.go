package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// State is a key's state. States only advance.
type State uint8

const (
	Enabled     State = 1 // opens, and seals while it is the primary
	Compromised State = 2 // opens, so that data can be re-encrypted; never seals again
	Disabled    State = 3 // neither seals nor opens; the wrapped bytes are kept
	Destroyed   State = 4 // the wrapped bytes are gone; only the id remains
)

var stateNames = [...]string{Enabled: "enabled", Compromised: "compromised", Disabled: "disabled", Destroyed: "destroyed"}

// String returns the state's name; "unknown" for any other number.
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// CanOpen returns nil if a key in this state opens packages, else ErrKeyUnusable or ErrKeyDestroyed.
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
	ID        format.KeyID // its commitment
	State     State
	CreatedAt int64  // milliseconds since 1970-01-01T00:00:00Z
	Root      Root   // the root that wraps it; its line never changes
	Wrapped   []byte // nonce || AES-256-GCM(root's wrapping key) || tag; empty once destroyed
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

// Primary points to the key that seals.
type Primary struct {
	Root  Root // that authenticates it
	Epoch uint32
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

// Keyset is the keys of one use and class. The primary is a pointer, not a state: pointing it back at an
// earlier key is a rollback, a new epoch of its own.
type Keyset struct {
	Use       format.Use
	Class     classify.Class
	Primaries []Primary // one for each line that has keys here, ascending by line
	Keys      []Key     // ascending by ID
}

// noPrimary is what a keyset without primaries has. It is not changed.
var noPrimary Primary

// current returns the primary that counts: of several lines, the one of the highest epoch. It is never nil.
func (s *Keyset) effectivePrimary(opened func(Root) bool) *Primary {
	current := &noPrimary
	for i := range s.Primaries {
		p := &s.Primaries[i]
		if opened(p.Root) && (p.Epoch > current.Epoch || p.Epoch == current.Epoch && compare(p.KeyID[:], current.KeyID[:]) > 0) {
			current = p
		}
	}
	return current
}

// Primary returns the id of the key that seals if it is enabled.
func (s *Keyset) Primary() format.KeyID { return s.effectivePrimary(anyRoot).KeyID }

// Epoch counts the changes of the primary, from 1.
func (s *Keyset) Epoch() uint32 { return s.effectivePrimary(anyRoot).Epoch }

func anyRoot(Root) bool { return true }

// RotatedAt returns when the keyset's newest key was made, in milliseconds since 1970. That is the last rotation, whether
// it was rolled back or not.
func (s *Keyset) RotatedAt() (at int64) {
	for i := range s.Keys {
		at = max(at, s.Keys[i].CreatedAt)
	}
	return at
}

// point makes a key the primary, in a new epoch.
func (s *Keyset) setPrimary(k *Key) error {
	epoch := s.Epoch()
	if epoch == 1<<32-1 {
		return ErrTooLarge
	}
	i, there := s.findPrimary(&k.Root.Line)
	if !there {
		s.Primaries = insertAt(s.Primaries, i, &Primary{})
	}
	s.Primaries[i] = Primary{Root: k.Root, Epoch: epoch + 1, KeyID: k.ID}
	return nil
}

// find returns the position of a key by its id, or the one at which to insert it.
func (s *Keyset) findKey(id *format.KeyID) (int, bool) {
	return search(len(s.Keys), func(i int) int { return compare(s.Keys[i].ID[:], id[:]) })
}

// Key returns the key of an id; nil if there is none.
func (s *Keyset) Key(id format.KeyID) *Key {
	if i, ok := s.findKey(&id); ok {
		return &s.Keys[i]
	}
	return nil
}
