package seal

import (
	"crypto/cipher"
	"runtime"
	"weak"

	lru "github.com/hashicorp/golang-lru/v2"
)

// DropNotifier is an optional interface of Keys that may be dropped from memory while a sealer uses them. The sealer
// then drops the ciphers that it derived from them.
type DropNotifier interface {
	Keys
	// OnDrop registers f, which is called after every drop of keys until stop is called.
	OnDrop(f func()) (stop func())
}

// dropWith makes the sealer drop its ciphers whenever the keys are dropped. It does not keep the sealer alive: when the
// sealer is garbage collected, it is unregistered.
func (s *Sealer) dropWith(keys DropNotifier) {
	sealer := weak.Make(s)
	stop := keys.OnDrop(func() {
		if s := sealer.Value(); s != nil {
			s.dropCiphers()
		}
	})
	runtime.AddCleanup(s, func(stop func()) { stop() }, stop)
}

// dropCiphers drops all ciphers. A concurrent call that has already derived a cipher does not add it to the cache
// afterwards.
func (s *Sealer) dropCiphers() {
	s.drops.Add(1)
	for use := range s.writers {
		for class := range s.writers[use] {
			s.writers[use][class].Store(nil)
		}
	}
	s.ciphers.Purge()
}

// cacheCipher adds a cipher to the cache unless dropCiphers ran after drops was read.
func (s *Sealer) cacheCipher(id messageID, c cipher.AEAD, drops uint64) {
	s.ciphers.Add(id, c)
	if s.drops.Load() != drops {
		s.ciphers.Remove(id)
	}
}

// newLRU returns a cache of at most limit entries that evicts the least recently used one.
func newLRU[K comparable, V any](limit int) *lru.Cache[K, V] {
	c, _ := lru.New[K, V](limit) // returns an error only if limit is not positive
	return c
}
