package sqlitekv

import (
	"context"
	"sync"
)

// sweepShare is how many parts of its owner's left blobs a large value removes for each part that it writes.
const sweepShare = 2

// leftBlobs are discarded blobs that no call removes: the calls that left them were canceled, or their entries expired. Maintenance
// removes them, but many clients are faster, and no quota counts these blobs. So the owner's next large value removes twice as many parts
// as it writes.
type leftBlobs struct {
	mu     sync.Mutex
	owners map[string]map[int64]bool
	of     map[int64]string // the owner of each blob
}

// leftBlob is a blob that no entry has from now on.
type leftBlob struct {
	owner string
	blob  int64
}

func (l *leftBlobs) add(owner string, blob int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners == nil {
		l.owners, l.of = map[string]map[int64]bool{}, map[int64]string{}
	}
	if l.owners[owner] == nil {
		l.owners[owner] = map[int64]bool{}
	}
	l.owners[owner][blob], l.of[blob] = true, owner
}

// take returns a blob of an owner and forgets it, or returns 0.
func (l *leftBlobs) take(owner string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for blob := range l.owners[owner] {
		l.drop(owner, blob)
		return blob
	}
	return 0
}

func (l *leftBlobs) forget(blob int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if owner, ok := l.of[blob]; ok {
		l.drop(owner, blob)
	}
}

// drop drops a blob. l.mu must be held.
func (l *leftBlobs) drop(owner string, blob int64) {
	delete(l.of, blob)
	if delete(l.owners[owner], blob); len(l.owners[owner]) == 0 {
		delete(l.owners, owner)
	}
}

// sweepOrLeave removes a discarded blob, which may be 0, as far as ctx lets it.
func (s *Store) sweepOrLeave(ctx context.Context, owner string, blob int64) {
	if s.sweep(ctx, blob) != nil {
		s.left.add(owner, blob)
	}
}

// sweepLeft removes left blobs of an owner before a value of so many parts is written. It returns an error only if ctx ends.
func (s *Store) sweepLeft(ctx context.Context, owner string, parts int64) error {
	for most := sweepShare * parts; most > 0; {
		blob := s.left.take(owner)
		if blob == 0 {
			return nil
		}
		removed, err := s.sweepParts(ctx, blob, most)
		if ctx.Err() != nil || err == nil && removed >= most {
			s.left.add(owner, blob) // there may be more of it
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		most -= removed // a damaged blob is left to maintenance, which reports it
	}
	return nil
}
