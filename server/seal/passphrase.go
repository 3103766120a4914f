package seal

import (
	"context"
	"crypto/cipher"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// maxDerivedKeys is the number of derived keys that are cached. One writer uses a key for up to 2^24 packages.
const maxDerivedKeys = 256

// passphrase is the key source of a passphrase, from which each salt yields another key.
type passphrase struct {
	password   *secret.Password
	iterations uint32                           // of new packages
	cached     *lru.Cache[derivation, *derived] // only keys that matched the key id of a package
	mu         sync.Mutex
	inFlight   map[derivation]*derived
}

// derivation identifies a key of the passphrase.
type derivation struct {
	salt       format.Salt
	iterations uint32
}

// derived is the result of a derivation, which may be read once done is closed.
type derived struct {
	done chan struct{}
	key  *secret.Key
	id   format.KeyID
	err  error
}

var _ keySource = (*passphrase)(nil)

func newPassphrase(password *secret.Password, iterations uint32) *passphrase {
	return &passphrase{
		password: password, iterations: iterations,
		cached: newLRU[derivation, *derived](maxDerivedKeys), inFlight: map[derivation]*derived{},
	}
}

func (p *passphrase) owner() string { return "" }

func (p *passphrase) single() bool { return true }

func (p *passphrase) primary(_ context.Context, _ format.Use, _ classify.Class) (format.KeyID, error) {
	return format.KeyID{}, nil
}

func (p *passphrase) begin(_ context.Context, h *format.Header) (cipher.AEAD, error) {
	h.Source, h.Iterations = format.FromPassphrase, p.iterations
	id := derivation{h.Salt, h.Iterations}
	d := p.derive(id)
	if d.err != nil {
		return nil, d.err
	}
	h.KeyID = d.id
	p.cached.Add(id, d)
	return d.key.MessageCipher(h.Salt)
}

func (p *passphrase) check(_ context.Context, h *format.Header, policy envelope.OpenPolicy) error {
	if err := checkSource(h, format.FromPassphrase, policy); err != nil {
		return err
	}
	if err := envelope.CheckDerivation(h); err != nil {
		return err
	}
	return classify.Class(h.Class).CheckIterations(h.Iterations) // the class requires more than the format
}

func (p *passphrase) cipher(_ context.Context, h *format.Header) (cipher.AEAD, error) {
	id := derivation{h.Salt, h.Iterations}
	d, ok := p.cached.Get(id)
	if !ok {
		d = p.derive(id)
	}
	if d.err != nil {
		return nil, d.err
	}
	if err := checkKeyID(h, d.id); err != nil {
		return nil, err
	}
	p.cached.Add(id, d)
	return d.key.MessageCipher(h.Salt)
}

// derive derives a key from the passphrase. Concurrent calls for the same key share one derivation.
func (p *passphrase) derive(id derivation) *derived {
	p.mu.Lock()
	if d, ok := p.inFlight[id]; ok {
		p.mu.Unlock()
		<-d.done
		return d
	}
	d := &derived{done: make(chan struct{})}
	p.inFlight[id] = d
	p.mu.Unlock()
	if d.key, d.err = p.password.Key(id.salt, id.iterations); d.err == nil {
		d.id = d.key.ID()
	}
	p.mu.Lock()
	delete(p.inFlight, id)
	p.mu.Unlock()
	close(d.done)
	return d
}
