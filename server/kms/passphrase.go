package kms

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// passphrase is a KEK whose keys are derived from a passphrase. A wrapped key is
//
//	salt (16) || iterations (4) || wrapped key of the local KEK that they yield
//
// so that processes unwrap each other's keys, although each draws a salt of its own.
type passphrase struct {
	password   *secret.Password
	iterations uint32
	mu         sync.Mutex // held during a derivation, so that concurrent calls share it
	salt       format.Salt
	derived    map[derivation]*local
}

// derivation identifies a key of the passphrase.
type derivation struct {
	salt       format.Salt
	iterations uint32
}

const (
	prefixSize = format.SaltSize + 4
	// maxDerivedKeys is the number of derived keys that are cached. A keyring has about one salt for each process that
	// ever created a tenant.
	maxDerivedKeys = 256
)

var _ KEK = (*passphrase)(nil)

// NewPassphrase returns a KEK whose keys are derived from a passphrase by PBKDF2-HMAC-SHA256, which takes about 0.2 s
// for each salt. Fewer iterations than classify.MinWriteIterations are raised to it. It returns classify.ErrIterations
// above classify.MaxIterations, and an error with the code invalid_argument for an empty text or one that is not UTF-8.
func NewPassphrase(text string, iterations uint32) (KEK, error) {
	password, err := secret.NewPassword(text)
	if err != nil {
		return nil, err
	}
	if iterations, err = secret.Iterations(iterations); err != nil {
		return nil, err
	}
	return &passphrase{password: password, iterations: iterations, derived: map[derivation]*local{}}, nil
}

// PassphraseURL is the URL of every KEK of a passphrase. It does not depend on the passphrase, from which each salt
// yields another key.
const PassphraseURL = "passphrase://"

// URL implements KEK.
func (p *passphrase) URL() string { return PassphraseURL }

// Wrap implements KEK. The first call draws the salt and derives its key.
func (p *passphrase) Wrap(ctx context.Context, key, additionalData []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.salt == (format.Salt{}) {
		_, _ = rand.Read(p.salt[:])
	}
	d := derivation{p.salt, p.iterations}
	p.mu.Unlock()
	kek, err := p.derive(d)
	if err != nil {
		return nil, err
	}
	wrapped, err := kek.Wrap(ctx, key, additionalData)
	if err != nil {
		return nil, err
	}
	prefix := binary.BigEndian.AppendUint32(d.salt[:], d.iterations)
	return append(prefix, wrapped...), nil
}

// Unwrap implements KEK. It checks the iterations before it derives a key.
func (p *passphrase) Unwrap(ctx context.Context, wrapped, additionalData []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(wrapped) < prefixSize || len(wrapped) > envelope.MaxWrapped {
		return nil, envelope.ErrAuthentication
	}
	d := derivation{format.Salt(wrapped), binary.BigEndian.Uint32(wrapped[format.SaltSize:prefixSize])}
	if err := classify.PHI.CheckIterations(d.iterations); err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	kek, err := p.derive(d)
	if err != nil {
		return nil, err
	}
	return kek.Unwrap(ctx, wrapped[prefixSize:], additionalData)
}

// derive returns the local KEK of a derivation, from the cache if possible.
func (p *passphrase) derive(d derivation) (*local, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if kek, ok := p.derived[d]; ok {
		return kek, nil
	}
	key, err := p.password.Key(d.salt, d.iterations)
	if err != nil {
		return nil, err
	}
	if len(p.derived) == maxDerivedKeys {
		clear(p.derived)
	}
	kek := newLocal(key)
	p.derived[d] = kek
	return kek, nil
}
