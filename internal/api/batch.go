package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/envelope"
)

const (
	// maxSealed bounds the bytes of values whose packages are in memory together, on their way into the
	// store; a longer value goes alone.
	maxSealed = 1 << 20
	// maxRead bounds what one call of the store brings, of packages of up to shortRead each.
	maxRead   = 1 << 20
	shortRead = 16 << 10
)

// batchEntries reads, writes and deletes many. All of the body is checked, and all scopes, before the first is done.
func (s *server) batchEntries(c *call) error {
	steps, err := s.readSteps(c)
	if err != nil {
		return err
	}
	var needed identity.Scopes
	for i := range steps {
		needed |= steps[i].op.needs
	}
	if err := c.id.Authorize(needed); err != nil {
		return s.refuse(c, err)
	}
	ctx, cancel := c.limit(s.timeout)
	defer cancel()
	for _, one := range waves(steps) {
		one[0].op.run(s, ctx, c, one)
	}
	return answerEach(c, len(steps), func(i int) result {
		done := steps[i].result
		steps[i] = step{}
		return done
	})
}

// waves puts the steps in an order of few calls of the store, in which those on one key keep theirs: of each
// key, a step comes in the wave after the one before it, or in the same where both do the same. Each of the
// waves that it gives is of one kind.
func waves(steps []step) [][]*step {
	type at struct {
		wave int
		op   string
	}
	last := map[string]at{}
	var all []map[string][]*step
	for i := range steps {
		one := &steps[i]
		here, known := last[one.key]
		if known && here.op != one.op.name {
			here.wave++
		}
		here.op = one.op.name
		last[one.key] = here
		if here.wave == len(all) {
			all = append(all, map[string][]*step{})
		}
		all[here.wave][here.op] = append(all[here.wave][here.op], one)
	}
	var runs [][]*step
	for _, wave := range all {
		for _, kind := range []op{opGet, opSet, opDelete} {
			if len(wave[kind.name]) > 0 {
				runs = append(runs, wave[kind.name])
			}
		}
	}
	return runs
}

// runGets reads the entries in few calls of the store, where there is room for what such a call may bring;
// one by one what is longer than that, and where a call fails, since each get succeeds or fails alone.
func (s *server) runGets(ctx context.Context, c *call, steps []*step) {
	for len(steps) > 0 {
		n := min(len(steps), maxRead/shortRead)
		if found := s.readMany(ctx, c, steps[:n]); found != nil {
			s.openMany(ctx, c, steps[:n], found)
		} else {
			for _, one := range steps[:n] {
				s.getOne(ctx, c, one)
			}
		}
		steps = steps[n:]
	}
}

// readMany gives nil where the entries are to be read one by one.
func (s *server) readMany(ctx context.Context, c *call, steps []*step) []cache.StoredPackage {
	if len(steps) == 1 {
		return nil
	}
	if room := int64(len(steps) * shortRead); room > small {
		if s.memory.Reserve(c.id.Tenant, room) != nil {
			return nil
		}
		defer s.memory.Release(c.id.Tenant, room)
	}
	keys := make([]string, len(steps))
	for i, one := range steps {
		keys[i] = one.key
	}
	found, err := c.tenant.cache.Packages(ctx, keys, shortRead)
	if err != nil {
		return nil
	}
	return found
}

// openMany opens what was found, and lets go of each package when it is open.
func (s *server) openMany(ctx context.Context, c *call, steps []*step, found []cache.StoredPackage) {
	uses, entries, opened := make([]use, 0, len(steps)), make([]cache.Entry, 0, len(steps)), make([]*step, 0, len(steps))
	for i, one := range steps {
		f := &found[i]
		if f.Package == nil && f.Err == nil {
			s.getOne(ctx, c, one)
			continue
		}
		s.countLookup(f.Err)
		before := c.holding()
		if f.Err == nil {
			f.Err = s.hold(c, len(f.Package))
		}
		if f.Err != nil && !errors.Is(f.Err, envelope.ErrAuthentication) {
			one.result = failed(f.Err)
			continue
		}
		var entry cache.Entry
		err := f.Err
		if err == nil {
			entry, err = c.tenant.cache.Open(nil, one.key, f.Package, cache.MinClass(one.minClass))
		}
		if err != nil {
			s.undo(c, before)
		}
		f.Package = nil
		uses = append(uses, use{action: audit.KeyOpen, class: f.Class, keyID: f.KeyID, name: one.key, context: f.Context, err: err})
		entries, opened = append(entries, entry), append(opened, one)
	}
	s.recordAll(c, uses)
	for i, one := range opened {
		one.got(&entries[i], uses[i].err)
	}
}

func (s *server) getOne(ctx context.Context, c *call, one *step) {
	w, before := wanted{name: one.key, minClass: one.minClass}, c.holding()
	pkg, entry, _, err := s.find(ctx, c, &w)
	if err == nil {
		entry, err = s.open(c, &w, pkg, &entry)
	}
	if err != nil {
		s.undo(c, before)
	}
	c.class = 0
	one.got(&entry, err)
}

func (one *step) got(entry *cache.Entry, err error) {
	if err != nil {
		one.result = failed(err)
		return
	}
	one.result = result{Status: http.StatusOK, ETag: etag(entry.Tag, false), Entry: describeJSON(entry)}
}

// runSets seals as many as may be in memory, records that, and stores them.
func (s *server) runSets(ctx context.Context, c *call, steps []*step) {
	for len(steps) > 0 {
		n, size := 0, 0
		for n < len(steps) && (n == 0 || size+len(steps[n].item.Value) <= maxSealed) {
			size += len(steps[n].item.Value)
			n++
		}
		s.putMany(ctx, c, steps[:n])
		steps = steps[n:]
	}
}

func (s *server) putMany(ctx context.Context, c *call, steps []*step) {
	sealed, uses := make([]cache.Sealed, len(steps)), make([]use, len(steps))
	for i, one := range steps {
		var err error
		sealed[i], err = c.tenant.cache.Seal(nil, &one.item)
		one.item.Value = nil
		uses[i] = use{action: audit.KeySeal, class: one.item.Class, keyID: sealed[i].KeyID, name: one.key, context: one.item.Context, err: err}
	}
	s.recordAll(c, uses)
	put, putting := make([]cache.Sealed, 0, len(steps)), make([]*step, 0, len(steps))
	for i, one := range steps {
		if uses[i].err != nil {
			one.result = failed(uses[i].err)
			continue
		}
		put, putting = append(put, sealed[i]), append(putting, one)
	}
	for i, err := range c.tenant.cache.PutMany(ctx, put) {
		if err != nil {
			putting[i].result = failed(err)
			continue
		}
		putting[i].result = result{Status: http.StatusNoContent, ETag: etag(put[i].Tag, false)}
	}
}

func (s *server) runDeletes(ctx context.Context, c *call, steps []*step) {
	keys, uses := make([]string, len(steps)), make([]use, len(steps))
	for i, one := range steps {
		keys[i], uses[i] = one.key, use{action: audit.EntryDelete, name: one.key}
	}
	if s.recordAll(c, uses); uses[0].err != nil { // all have the same error
		for i := range steps {
			steps[i].result = failed(uses[i].err)
		}
		return
	}
	for i, err := range c.tenant.cache.RemoveMany(ctx, keys) {
		if err != nil {
			steps[i].result = failed(err)
			continue
		}
		steps[i].result = result{Status: http.StatusNoContent}
	}
}
