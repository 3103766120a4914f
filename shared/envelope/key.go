package envelope

import (
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/format"
)

// State is a key's state. States only advance.
type State uint8

const (
	Enabled     State = 1 // opens, and seals while it is the primary
	Disabled    State = 2 // neither seals nor opens; the material is kept
	Compromised State = 3 // opens, so that data can be re-encrypted; never seals again
	Destroyed   State = 4 // the material is gone; only the id remains
)

var stateNames = [...]string{Enabled: "enabled", Disabled: "disabled", Compromised: "compromised", Destroyed: "destroyed"}

// String returns the state's name; "unknown" for a number that is none.
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// Key is one wrapped data key.
type Key struct {
	ID        format.KeyID // its commitment
	State     State
	CreatedAt int64        // milliseconds since 1970-01-01T00:00:00Z
	RootID    format.KeyID // the root that wraps it
	Wrapped   []byte       // nonce || AES-256-GCM(root's wrapping key) || tag; empty once destroyed
}

// Keyset is the keys of one use and class. The primary is a pointer, not a state: pointing it back at an
// earlier key is a rollback, a new epoch of its own.
type Keyset struct {
	Use     format.Use
	Class   classify.Class
	Epoch   uint32
	Primary format.KeyID
	Keys    []Key // ascending by ID
}

// KeyInfo is what must be known of a key to decide on its use.
type KeyInfo struct {
	ID    format.KeyID
	Use   format.Use
	Class classify.Class
	State State
}

// find returns the position of a key by its id, or where it would stand.
func (s *Keyset) find(id format.KeyID) (int, bool) {
	for i := range s.Keys {
		if c := compareIDs(s.Keys[i].ID, id); c >= 0 {
			return i, c == 0
		}
	}
	return len(s.Keys), false
}

func compareIDs(a, b format.KeyID) int {
	for i := range a {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return 0
}

// CanOpen returns nil where a key in this state opens packages, ErrKeyUnusable or ErrKeyDestroyed where it does not.
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
