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

// passphrase is a KEK that a passphrase yields. What it wraps is salt || iterations || what the local KEK of
// that derivation wraps, so that many processes, each with a salt of its own, read each other's keys.
type passphrase struct {
	password   *secret.Password
	iterations uint32
	mu         sync.Mutex // held while deriving: one derivation serves all who wait
	salt       format.Salt
	derived    map[derivation]*local
}

type derivation struct {
	salt       format.Salt
	iterations uint32
}

const (
	prefixSize = format.SaltSize + 4
	// maxDerived bounds the derivations kept; a keyring has about one for each process that ever made a tenant.
	maxDerived = 256
)

var _ KEK = (*passphrase)(nil)

// NewPassphrase returns a KEK whose keys are derived from a passphrase by PBKDF2-HMAC-SHA256, which takes about 0.2 s for each salt. Fewer
// iterations than classify.MinWriteIterations are raised to it. It returns classify.ErrIterations above classify.MaxIterations, and an error with the code
// invalid_argument for an empty text or one that is not UTF-8.
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

// PassphraseURL is the URL of every KEK that a passphrase yields. It names the kind only: every salt makes another key of the passphrase.
const PassphraseURL = "passphrase://"

// URL implements KEK.
func (p *passphrase) URL() string { return PassphraseURL }

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
	if len(p.derived) == maxDerived {
		clear(p.derived)
	}
	kek := newLocal(key)
	p.derived[d] = kek
	return kek, nil
}
