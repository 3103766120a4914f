package keystore

import (
	"context"
	"slices"
	"sync"
	"time"
)

// indexTime is for how long names are kept. One that came without an announcement, since who made it was
// killed, is missed for as long.
const indexTime = time.Minute

// index keeps the names of the documents of a kind, in order, until one of them changes: the pages of a
// listing take work by what they hold, and not each by what the store does.
type index struct {
	mu    sync.Mutex
	kinds map[Kind]*names
}

type names struct {
	generation string
	all        []string
}

// after gives the names after a place. They are the index's: they are not to be changed.
func (x *index) after(ctx context.Context, s Store, kind Kind, place string, list func() ([]string, error)) ([]string, error) {
	generation, err := s.Generation(ctx, kind) // before they are listed: a change meanwhile is another one
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	kept := x.kinds[kind]
	x.mu.Unlock()
	if kept == nil || kept.generation != generation {
		kept = &names{generation: generation}
		if kept.all, err = list(); err != nil {
			return nil, err
		}
		slices.Sort(kept.all)
		kept.all = slices.Compact(kept.all) // a scan may repeat them
		x.keep(kind, kept)
	}
	from, found := slices.BinarySearch(kept.all, place)
	if found {
		from++
	}
	return kept.all[from:], nil
}

func (x *index) keep(kind Kind, kept *names) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.kinds == nil {
		x.kinds = map[Kind]*names{}
	}
	x.kinds[kind] = kept
	time.AfterFunc(indexTime, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.kinds[kind] == kept {
			delete(x.kinds, kind)
		}
	})
}
