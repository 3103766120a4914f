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

// The kinds of documents that the keystore returned and that do not open.
var (
	// ErrAltered reports a keyset that is damaged or was altered. It is an ErrUnreadable.
	ErrAltered error = &unopenedError{"authentication_failed", "the keyset is damaged or was altered", ErrUnreadable}
	// ErrForeign reports a keyset that no configured KEK opens. It is a kms.ErrWrongKey.
	ErrUnknownKEK error = &unopenedError{"key_unusable", "no configured KEK opens the keyset", kms.ErrWrongKey}
)

// Unopenable reports whether an error is about one document that the keystore returned, and not about the keystore.
func IsRejected(err error) bool {
	return errors.Is(err, ErrAltered) || errors.Is(err, ErrUnknownKEK) || errors.Is(err, ErrWrongEnvironment) || errors.Is(err, envelope.ErrUnsupportedVersion) ||
		errors.Is(err, envelope.ErrTooLarge)
}

// unopenedError has a code of its own, and is another error that callers know.
type unopenedError struct {
	code, text string
	kind       error
}

func (e *unopenedError) Error() string { return "keyring: " + e.text }

// Code returns the error's stable code.
func (e *unopenedError) Code() string { return e.code }

// Is makes the error one of its kind.
func (e *unopenedError) Is(target error) bool { return target == e.kind }

// maxUnopened bounds the memory for documents that do not open.
const maxUnopened = 1000

// unopened is the owners of documents that the keystore returned and that do not open, each with the hash of the document.
type unopened struct {
	mu     sync.Mutex
	hashes map[string][sha256.Size]byte
}

// noteUnopened notes that an owner's document, of these bytes, does not open, and returns the reason.
func (r *Keyring) noteUnopened(owner string, content []byte, reason error) error {
	hash := sha256.Sum256(content)
	r.unopened.mu.Lock()
	_, known := r.unopened.hashes[owner]
	fresh := !known && len(r.unopened.hashes) < maxUnopened
	if known || fresh {
		r.unopened.hashes[owner] = hash
	}
	r.unopened.mu.Unlock()
	if fresh {
		r.noteLoss(Incident{Tenant: owner, Rejected: reason})
	}
	return reason
}

// forgetUnopened notes that an owner's document opens, or is another one.
func (r *Keyring) forgetUnopened(owner string) {
	r.unopened.mu.Lock()
	delete(r.unopened.hashes, owner)
	r.unopened.mu.Unlock()
}

// Unopened returns an error while the keystore has documents that did not open when this keyring read them last. It reads them again,
// and forgets those that were replaced since.
func (r *Keyring) CheckRejected(ctx context.Context) error {
	r.unopened.mu.Lock()
	hashes := maps.Clone(r.unopened.hashes)
	r.unopened.mu.Unlock()
	left := 0
	for owner, former := range hashes {
		content, err := r.store.Get(ctx, keystore.Keysets, owner)
		if err != nil {
			return err
		}
		if content == nil || sha256.Sum256(content) != former {
			r.forgetUnopened(owner)
			continue
		}
		left++
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("%d keysets do not open: the audit log names them: %w", left, ErrAltered)
}
