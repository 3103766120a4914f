package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// writer is one salt, which was drawn here and is shared with no other process, and the cipher of its packages.
type writer struct {
	primary format.KeyID  // the key that seals, as the source names it
	header  format.Header // key source, key id, salt and iterations
	cipher  cipher.AEAD
	budget  envelope.Budget
}

// sealed reports whether a package with header h is this writer's.
func (w *writer) sealed(h *format.Header) bool {
	return w.header.Salt == h.Salt && w.header.KeyID == h.KeyID && w.header.Iterations == h.Iterations
}

// slot is where the writer of a use and class is kept. A single secret's key has neither, so it has one writer.
func (s *Sealer) slot(use format.Use, class classify.Class) *atomic.Pointer[writer] {
	if s.source.single() {
		return &s.writers[0][0]
	}
	return &s.writers[use][class]
}

// writer returns the current writer of a use and class, and makes one when there is none yet, when another
// key has become the primary, or when the salt's budget is spent.
func (s *Sealer) writer(use format.Use, class classify.Class, size int) (*writer, error) {
	primary, err := s.source.primary(use, class)
	if err != nil {
		return nil, err
	}
	slot := s.slot(use, class)
	if w := slot.Load(); w != nil && w.primary == primary && w.budget.Spend(size) {
		return w, nil
	}
	s.making.Lock()
	defer s.making.Unlock()
	if w := slot.Load(); w != nil && w.primary == primary && w.budget.Spend(size) {
		return w, nil // made while we waited
	}
	w, forgotten := &writer{primary: primary}, s.forgotten.Load()
	_, _ = rand.Read(w.header.Salt[:]) // never fails: crypto/rand ends the program instead
	w.header.KeyID = primary
	if w.cipher, err = s.source.begin(&w.header); err != nil {
		return nil, err
	}
	w.budget.Spend(size)
	slot.Store(w)
	if s.forgotten.Load() != forgotten {
		slot.CompareAndSwap(w, nil)
	}
	return w, nil
}
