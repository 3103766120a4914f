package seal

import (
	"crypto/cipher"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// keptKeys bounds the derived keys that are kept. Each is one writer's, for 2^24 packages.
const keptKeys = 256

// passphrase is the source of packages under a passphrase, which every salt makes another key of.
type passphrase struct {
	password   *secret.Password
	iterations uint32                           // of what is written
	kept       *lru.Cache[derivation, *derived] // those that were the key of some package
	mu         sync.Mutex
	flights    map[derivation]*derived
}

type derivation struct {
	salt       format.Salt
	iterations uint32
}

// derived is a key, once its derivation is done.
type derived struct {
	done chan struct{}
	key  *secret.Key
	id   format.KeyID
	err  error
}

var _ source = (*passphrase)(nil)

func newPassphrase(password *secret.Password, iterations uint32) *passphrase {
	return &passphrase{
		password: password, iterations: iterations,
		kept: newCache[derivation, *derived](keptKeys), flights: map[derivation]*derived{},
	}
}

func (p *passphrase) owner() string { return "" }

func (p *passphrase) single() bool { return true }

func (p *passphrase) primary(format.Use, classify.Class) (format.KeyID, error) {
	return format.KeyID{}, nil
}

func (p *passphrase) begin(h *format.Header) (cipher.AEAD, error) {
	h.Source, h.Iterations = format.FromPassphrase, p.iterations
	name := derivation{h.Salt, h.Iterations}
	d := p.derive(name)
	if d.err != nil {
		return nil, d.err
	}
	h.KeyID = d.id
	p.kept.Add(name, d)
	return d.key.MessageCipher(h.Salt)
}

func (p *passphrase) check(h *format.Header, policy envelope.OpenPolicy) error {
	if err := checkSource(h, format.FromPassphrase, policy); err != nil {
		return err
	}
	if err := envelope.CheckDerivation(h); err != nil {
		return err
	}
	return classify.Class(h.Class).CheckIterations(h.Iterations) // policy, which demands more than the format
}

func (p *passphrase) cipher(h *format.Header) (cipher.AEAD, error) {
	name := derivation{h.Salt, h.Iterations}
	d, ok := p.kept.Get(name)
	if !ok {
		d = p.derive(name)
	}
	if d.err != nil {
		return nil, d.err
	}
	if err := sameKey(h, d.id); err != nil {
		return nil, err
	}
	p.kept.Add(name, d)
	return d.key.MessageCipher(h.Salt)
}

// derive stretches the passphrase. Concurrent calls for one salt share one derivation.
func (p *passphrase) derive(name derivation) *derived {
	p.mu.Lock()
	if d, ok := p.flights[name]; ok {
		p.mu.Unlock()
		<-d.done
		return d
	}
	d := &derived{done: make(chan struct{})}
	p.flights[name] = d
	p.mu.Unlock()
	if d.key, d.err = p.password.Key(name.salt, name.iterations); d.err == nil {
		d.id = d.key.ID()
	}
	p.mu.Lock()
	delete(p.flights, name)
	p.mu.Unlock()
	close(d.done)
	return d
}
