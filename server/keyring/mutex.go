package keyring

import "context"

// mutex is a mutual exclusion lock like sync.Mutex, for which a caller can stop waiting.
type mutex chan struct{}

func newMutex() mutex { return make(mutex, 1) }

// Lock locks m.
func (m mutex) Lock() { m <- struct{}{} }

// LockContext locks m, or returns the error of ctx if that ends first.
func (m mutex) LockContext(ctx context.Context) error {
	select {
	case m <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryLock locks m if it is unlocked, and reports whether it did.
func (m mutex) TryLock() bool {
	select {
	case m <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock unlocks m, which must be locked.
func (m mutex) Unlock() { <-m }
