package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Errors of a document that the keystore returned and the keyring rejected; ErrWrongEnvironment is another.
var (
	// ErrAltered reports a keyset that is damaged or was altered. It is an ErrUnreadable.
	ErrAltered error = &rejectedError{"authentication_failed", "the keyset is damaged or was altered", ErrUnreadable}
	// ErrUnknownKEK reports a keyset that no configured KEK opens. It is a kms.ErrWrongKey.
	ErrUnknownKEK error = &rejectedError{"key_unusable", "no configured KEK opens the keyset", kms.ErrWrongKey}
)

// IsRejected reports whether an error is about one document that the keystore returned and the keyring rejected, and
// not about the keystore: the document is damaged, altered, of another environment, under an unknown KEK, or from a
// later version of Coffer.
func IsRejected(err error) bool {
	return errors.Is(err, ErrAltered) || errors.Is(err, ErrUnknownKEK) || errors.Is(err, ErrWrongEnvironment) || errors.Is(err, envelope.ErrUnsupportedVersion) ||
		errors.Is(err, envelope.ErrTooLarge)
}

// rejectedError is a special case of another error, with a code of its own.
type rejectedError struct {
	code, text string
	general    error
}

func (e *rejectedError) Error() string { return "keyring: " + e.text }

// Code returns the error's stable code.
func (e *rejectedError) Code() string { return e.code }

// Is reports whether target is the general error.
func (e *rejectedError) Is(target error) bool { return target == e.general }

// maxRejected bounds the memory for rejected documents.
const maxRejected = 1000

// rejected has the hash of each rejected document, by owner.
type rejected struct {
	mu     sync.Mutex
	hashes map[string][sha256.Size]byte
}

// reject remembers that an owner's document was rejected, reports a new incident, and returns the reason.
func (r *Keyring) reject(owner string, content []byte, reason error) error {
	hash := sha256.Sum256(content)
	r.rejected.mu.Lock()
	_, known := r.rejected.hashes[owner]
	added := !known && len(r.rejected.hashes) < maxRejected
	if known || added {
		r.rejected.hashes[owner] = hash
	}
	r.rejected.mu.Unlock()
	if added {
		r.onIncident(Incident{Tenant: owner, Rejected: reason})
	}
	return reason
}

// clearRejected forgets that an owner's document was rejected.
func (r *Keyring) clearRejected(owner string) {
	r.rejected.mu.Lock()
	delete(r.rejected.hashes, owner)
	r.rejected.mu.Unlock()
}

// CheckRejected returns an error if the keystore still has documents that this keyring rejected. It reads these
// documents again, and forgets those that were replaced.
func (r *Keyring) CheckRejected(ctx context.Context) error {
	r.rejected.mu.Lock()
	hashes := maps.Clone(r.rejected.hashes)
	r.rejected.mu.Unlock()
	remaining := 0
	for owner, hash := range hashes {
		content, err := r.store.Get(ctx, keystore.Keysets, owner)
		if err != nil {
			return err
		}
		if content == nil || sha256.Sum256(content) != hash {
			r.clearRejected(owner)
			continue
		}
		remaining++
	}
	if remaining == 0 {
		return nil
	}
	return fmt.Errorf("%d keysets do not open: the audit log names them: %w", remaining, ErrAltered)
}
