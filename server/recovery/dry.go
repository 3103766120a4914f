package recovery

import (
	"context"
	"sync"

	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
)

// dryRing is a keyring over a store that takes no change. It must be closed.
func (r *Recovery) dryRing() (*keyring.Keyring, error) {
	return keyring.New(&dryStore{Store: r.Store}, r.KEKs, r.Environment)
}

// dryStore discards what is written, except for the system document: the shred records of other documents need its keys.
type dryStore struct {
	keystore.Store
	mu     sync.Mutex
	system []byte // nil if it was not written
}

// Get implements keystore.Store.
func (s *dryStore) Get(ctx context.Context, kind keystore.Kind, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.system != nil && kind == keystore.Keysets && name == "" {
		return s.system, nil
	}
	return s.Store.Get(ctx, kind, name)
}

// Swap implements keystore.Store.
func (s *dryStore) Swap(_ context.Context, kind keystore.Kind, name string, _, document []byte, _ int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == keystore.Keysets && name == "" {
		s.system = document
	}
	return true, nil
}
