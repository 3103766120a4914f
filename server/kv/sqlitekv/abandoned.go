package sqlitekv

import (
	"context"
	"sync"
)

// removalFactor is how many parts of its owner's abandoned blobs a large value removes for each part that it writes.
const removalFactor = 2

// abandonedBlobs are discarded blobs that no running call removes, because the call was canceled or the entry expired.
// Maintenance removes them, but many clients together are faster than maintenance, and no quota counts these blobs.
// Therefore the next large value of the same owner removes twice as many parts as it writes.
type abandonedBlobs struct {
	mu      sync.Mutex
	owners  map[string]map[int64]bool
	ownerOf map[int64]string // owner of each blob
}

// abandonedBlob is a blob that no entry has any longer.
type abandonedBlob struct {
	owner string
	blob  int64
}

func (l *abandonedBlobs) add(owner string, blob int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners == nil {
		l.owners, l.ownerOf = map[string]map[int64]bool{}, map[int64]string{}
	}
	if l.owners[owner] == nil {
		l.owners[owner] = map[int64]bool{}
	}
	l.owners[owner][blob], l.ownerOf[blob] = true, owner
}

// takeOne returns a blob of an owner and forgets it. It returns 0 if the owner has no abandoned blob.
func (l *abandonedBlobs) takeOne(owner string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for blob := range l.owners[owner] {
		l.drop(owner, blob)
		return blob
	}
	return 0
}

func (l *abandonedBlobs) forget(blob int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if owner, ok := l.ownerOf[blob]; ok {
		l.drop(owner, blob)
	}
}

// drop removes a blob from the lists. l.mu must be held.
func (l *abandonedBlobs) drop(owner string, blob int64) {
	delete(l.ownerOf, blob)
	if delete(l.owners[owner], blob); len(l.owners[owner]) == 0 {
		delete(l.owners, owner)
	}
}

// removeOrAbandon removes a discarded blob. If ctx ends first, it records the blob as abandoned. A blob of 0 means
// none.
func (s *Store) removeOrAbandon(ctx context.Context, owner string, blob int64) {
	if s.removeBlob(ctx, blob) != nil {
		s.abandoned.add(owner, blob)
	}
}

// removeAbandoned removes abandoned blobs of an owner before it writes a value with a number of parts. It returns an
// error only if ctx ends.
func (s *Store) removeAbandoned(ctx context.Context, owner string, parts int64) error {
	for remaining := removalFactor * parts; remaining > 0; {
		blob := s.abandoned.takeOne(owner)
		if blob == 0 {
			return nil
		}
		removed, err := s.removeBlobParts(ctx, blob, remaining)
		if ctx.Err() != nil || err == nil && removed >= remaining {
			s.abandoned.add(owner, blob) // some of its parts may be left
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		remaining -= removed // maintenance reports and retries a damaged blob
	}
	return nil
}
