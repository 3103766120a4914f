package keyring

import "fmt"

// Incident is an event about one document of the keystore: the keystore lost the document or changes of it while the
// keyring had them in memory, or the keyring rejected the document.
type Incident struct {
	Tenant   string // empty for the system document
	Restored bool   // the keyring wrote the lost content back; if false, it is about to
	Rejected error  // the reason of a rejection; nil if the document was lost
}

// WithIncidentHandler sets a function that is called once when a document is lost, once when it is restored, and once
// when a document is rejected. The keyring holds locks during the call: the function must return immediately and must
// not use the keyring.
func WithIncidentHandler(handle func(Incident)) Option {
	return func(r *Keyring) { r.onIncident = handle }
}

// setMissing remembers the error that kept a document that vanished from the keystore from being written back. Nil
// means that the document is no longer missing.
func (r *Keyring) setMissing(t *Tenant, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.missing, t)
	} else {
		r.missing[t], r.pending[t] = err, true
	}
}

func (r *Keyring) isMissing(t *Tenant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.missing[t] != nil
}

// CheckMissing returns an error if documents vanished from the keystore and were not written back yet, as after a
// failover to a replica that lacks them. The keyring writes them back from memory, and retries until it succeeds.
func (r *Keyring) CheckMissing() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.missing) == 0 {
		return nil
	}
	return fmt.Errorf("keyring: %d keysets vanished from the keystore and are not written back yet: the audit log names them: %w", len(r.missing), ErrUnreadable)
}

// MissingStats returns the number of documents that are missing, and the number that this keyring wrote back.
func (r *Keyring) MissingStats() (missing int, restored uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.missing), r.restored.Load()
}
