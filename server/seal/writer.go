package seal

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"sync/atomic"

	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// writer has a random salt, which no other sealer uses, and the cipher for the packages under it.
type writer struct {
	primary format.KeyID  // the primary key when the writer was made
	header  format.Header // key source, key id, salt and iterations
	cipher  cipher.AEAD
	budget  envelope.Budget
}

// sealed reports whether this writer may have sealed a package with header h.
func (w *writer) sealed(h *format.Header) bool {
	return w.header.Salt == h.Salt && w.header.KeyID == h.KeyID && w.header.Iterations == h.Iterations
}

// writerSlot returns the slot of the writer for a use and class. A single secret has one writer for all.
func (s *Sealer) writerSlot(use format.Use, class classify.Class) *atomic.Pointer[writer] {
	if s.source.single() {
		return &s.writers[0][0]
	}
	return &s.writers[use][class]
}

// writer returns the writer for a use and class, after it has counted a package of size bytes. It makes a new writer if
// the slot is empty, another key has become the primary, or the budget of the salt is spent.
func (s *Sealer) writer(ctx context.Context, use format.Use, class classify.Class, size int) (*writer, error) {
	primary, err := s.source.primary(ctx, use, class)
	if err != nil {
		return nil, err
	}
	slot := s.writerSlot(use, class)
	if w := slot.Load(); w != nil && w.primary == primary && w.budget.Spend(size) {
		return w, nil
	}
	if !s.making.TryAcquire(1) { // Acquire fails if ctx has ended, even if it need not wait
		if err := s.making.Acquire(ctx, 1); err != nil {
			return nil, err
		}
	}
	defer s.making.Release(1)
	if w := slot.Load(); w != nil && w.primary == primary && w.budget.Spend(size) {
		return w, nil // another call made it in the meantime
	}
	w, drops := &writer{primary: primary}, s.drops.Load()
	_, _ = rand.Read(w.header.Salt[:]) // crypto/rand never returns an error
	w.header.KeyID = primary
	if w.cipher, err = s.source.begin(ctx, &w.header); err != nil {
		return nil, err
	}
	w.budget.Spend(size)
	slot.Store(w)
	if s.drops.Load() != drops {
		slot.CompareAndSwap(w, nil)
	}
	return w, nil
}
