package seal

import (
	"crypto/cipher"
	"runtime"
	"weak"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Dropper is Keys that can be dropped from memory while a sealer uses them. Sealers then drop the ciphers that
// they derived from them.
type Dropper interface {
	Keys
	// OnDrop has f called whenever keys were dropped, until stop is called.
	OnDrop(f func()) (stop func())
}

// follow has the sealer drop its ciphers with their keys, for as long as anybody uses the sealer.
func (s *Sealer) follow(keys Dropper) {
	sealer := weak.Make(s)
	stop := keys.OnDrop(func() {
		if s := sealer.Value(); s != nil {
			s.forget()
		}
	})
	runtime.AddCleanup(s, func(stop func()) { stop() }, stop)
}

// forget drops all ciphers. One that a call derived before is not kept by that call.
func (s *Sealer) forget() {
	s.forgotten.Add(1)
	for use := range s.writers {
		for class := range s.writers[use] {
			s.writers[use][class].Store(nil)
		}
	}
	s.ciphers.Purge()
}

// keep keeps a cipher that was derived after a number of calls of forget, unless there was another one since.
func (s *Sealer) keep(m message, c cipher.AEAD, forgotten uint64) {
	s.ciphers.Add(m, c)
	if s.forgotten.Load() != forgotten {
		s.ciphers.Remove(m)
	}
}

// newCache returns a cache that drops the least recently used of more than limit entries.
func newCache[K comparable, V any](limit int) *lru.Cache[K, V] {
	c, _ := lru.New[K, V](limit) // fails for no size only
	return c
}
