package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/coffer-storage/coffer/internal/identity"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

const (
	// maxSealedTogether is the size in bytes of the values whose packages are in memory together before they are stored. A
	// longer value is stored alone.
	maxSealedTogether = 1 << 20
	// maxReadTogether is the size in bytes of the packages that one call of the store reads. Each is up to maxShortPackage.
	maxReadTogether = 1 << 20
	maxShortPackage = 16 << 10
)

// batchOp is one operation of a batch, and later its result.
type batchOp struct {
	kind     *opKind
	key      string
	minClass classify.Class // of a get
	item     cache.Item     // of a set
	result   result
}

// opKind is what an operation of a batch does.
type opKind struct {
	scope identity.Scopes
	run   func(s *server, ctx context.Context, c *call, ops []*batchOp)
}

var (
	getOp    = &opKind{identity.CacheRead, (*server).runGets}
	setOp    = &opKind{identity.CacheWrite, (*server).runSets}
	deleteOp = &opKind{identity.CacheWrite, (*server).runDeletes}
)

// batchEntries reads, writes and deletes many entries. It checks the whole body and all scopes before it runs the first
// operation.
func (s *server) batchEntries(c *call) error {
	ops, err := s.parseBatch(c)
	if err != nil {
		return err
	}
	var scopes identity.Scopes
	for i := range ops {
		scopes |= ops[i].kind.scope
	}
	if err := c.id.Authorize(scopes); err != nil {
		return c.refuse(err)
	}
	ctx, cancel := c.withTimeout(s.timeout)
	defer cancel()

	for _, group := range groupOps(ops) {
		group[0].kind.run(s, ctx, c, group)
	}
	return writeResults(c, len(ops), func(i int) result {
		r := ops[i].result
		ops[i] = batchOp{} // releases the value
		return r
	})
}

func (s *server) parseBatch(c *call) ([]batchOp, error) {
	if err := parseNoQuery(c); err != nil {
		return nil, err
	}
	items, err := s.jsonBatch(c, "operations")
	if err != nil {
		return nil, err
	}
	ops := make([]batchOp, len(items))
	for i, text := range items {
		if ops[i], err = parseBatchOp(text); err != nil {
			return nil, &itemError{"operations", i, err}
		}
	}
	return ops, nil
}

// groupOps groups the operations so that few calls of the store are needed. All operations of a group are of one kind. The
// operations on one key keep their order: each is in a later round than the one before it, or in the same group if both are of
// the same kind.
func groupOps(ops []batchOp) [][]*batchOp {
	type position struct {
		round int
		kind  *opKind
	}
	last := map[string]position{} // by key
	var rounds []map[*opKind][]*batchOp
	for i := range ops {
		op := &ops[i]
		p, known := last[op.key]
		if known && p.kind != op.kind {
			p.round++
		}
		p.kind = op.kind
		last[op.key] = p
		if p.round == len(rounds) {
			rounds = append(rounds, map[*opKind][]*batchOp{})
		}
		rounds[p.round][op.kind] = append(rounds[p.round][op.kind], op)
	}
	var groups [][]*batchOp
	for _, round := range rounds {
		for _, kind := range []*opKind{getOp, setOp, deleteOp} {
			if len(round[kind]) > 0 {
				groups = append(groups, round[kind])
			}
		}
	}
	return groups
}

// runGets reads entries. If there is enough memory, it reads many short ones with one call of the store. It reads long ones
// alone, and also those of a call that failed, because each get succeeds or fails alone.
func (s *server) runGets(ctx context.Context, c *call, ops []*batchOp) {
	for len(ops) > 0 {
		n := min(len(ops), maxReadTogether/maxShortPackage)
		if found := s.readTogether(ctx, c, ops[:n]); found != nil {
			s.openTogether(ctx, c, ops[:n], found)
		} else {
			for _, op := range ops[:n] {
				s.runGet(ctx, c, op)
			}
		}
		ops = ops[n:]
	}
}

// readTogether reads short entries with one call of the store. It returns nil if the entries must be read one by one.
func (s *server) readTogether(ctx context.Context, c *call, ops []*batchOp) []cache.StoredPackage {
	if len(ops) == 1 {
		return nil
	}
	if size := int64(len(ops) * maxShortPackage); size > uncounted {
		if s.memory.Reserve(c.id.Tenant, size) != nil {
			return nil
		}
		defer s.memory.Release(c.id.Tenant, size)
	}
	keys := make([]string, len(ops))
	for i, op := range ops {
		keys[i] = op.key
	}
	found, err := c.cache.Packages(ctx, keys, maxShortPackage)
	if err != nil {
		return nil
	}
	return found
}

// openTogether opens the packages that readTogether found, and releases each package after it was opened.
func (s *server) openTogether(ctx context.Context, c *call, ops []*batchOp, found []cache.StoredPackage) {
	uses, entries, opened := make([]keyUse, 0, len(ops)), make([]cache.Entry, 0, len(ops)), make([]*batchOp, 0, len(ops))
	for i, op := range ops {
		f := &found[i]
		if f.Package == nil && f.Err == nil { // too long for readTogether
			s.runGet(ctx, c, op)
			continue
		}
		s.countLookup(f.Err)
		mark := c.memory.mark()
		if f.Err == nil {
			f.Err = s.reserve(c, len(f.Package))
		}
		if f.Err != nil && !errors.Is(f.Err, envelope.ErrAuthentication) {
			op.result = failedResult(f.Err)
			continue
		}
		var entry cache.Entry
		err := f.Err
		if err == nil {
			entry, err = c.cache.Open(ctx, nil, op.key, f.Package, cache.MinClass(op.minClass))
		}
		if err != nil {
			s.releaseSince(c, mark)
		}
		f.Package = nil
		uses = append(uses, keyUse{action: audit.KeyOpen, class: f.Class, keyID: f.KeyID, name: op.key, context: f.Context, err: err})
		entries, opened = append(entries, entry), append(opened, op)
	}
	s.recordUses(c, uses)
	for i, op := range opened {
		op.setEntry(&entries[i], uses[i].err)
	}
}

// runGet reads one entry.
func (s *server) runGet(ctx context.Context, c *call, op *batchOp) {
	q, mark := entryQuery{key: op.key, minClass: op.minClass}, c.memory.mark()
	pkg, entry, _, err := s.findEntry(ctx, c, &q)
	if err == nil {
		entry, err = s.openEntry(ctx, c, &q, pkg, &entry)
	}
	if err != nil {
		s.releaseSince(c, mark)
	}
	c.class = 0 // a batch has no single class
	op.setEntry(&entry, err)
}

// setEntry sets the result of a get.
func (op *batchOp) setEntry(entry *cache.Entry, err error) {
	if err != nil {
		op.result = failedResult(err)
		return
	}
	op.result = result{Status: http.StatusOK, ETag: etag(entry.Tag, false), Entry: newEntryJSON(entry)}
}

// runSets seals and stores entries, as many at a time as maxSealedTogether allows.
func (s *server) runSets(ctx context.Context, c *call, ops []*batchOp) {
	for len(ops) > 0 {
		n, size := 0, 0
		for n < len(ops) && (n == 0 || size+len(ops[n].item.Value) <= maxSealedTogether) {
			size += len(ops[n].item.Value)
			n++
		}
		s.putTogether(ctx, c, ops[:n])
		ops = ops[n:]
	}
}

// putTogether seals entries, records that, and stores them with one call of the store.
func (s *server) putTogether(ctx context.Context, c *call, ops []*batchOp) {
	sealed, uses := make([]cache.Sealed, len(ops)), make([]keyUse, len(ops))
	for i, op := range ops {
		var err error
		sealed[i], err = c.cache.Seal(ctx, nil, &op.item)
		op.item.Value = nil
		uses[i] = keyUse{action: audit.KeySeal, class: op.item.Class, keyID: sealed[i].KeyID, name: op.key, context: op.item.Context, err: err}
	}
	s.recordUses(c, uses)
	toPut, putOps := make([]cache.Sealed, 0, len(ops)), make([]*batchOp, 0, len(ops))
	for i, op := range ops {
		if uses[i].err != nil {
			op.result = failedResult(uses[i].err)
			continue
		}
		toPut, putOps = append(toPut, sealed[i]), append(putOps, op)
	}
	for i, err := range c.cache.PutMany(ctx, toPut) {
		if err != nil {
			putOps[i].result = failedResult(err)
			continue
		}
		putOps[i].result = result{Status: http.StatusNoContent, ETag: etag(toPut[i].Tag, false)}
	}
}

func (s *server) runDeletes(ctx context.Context, c *call, ops []*batchOp) {
	keys, uses := make([]string, len(ops)), make([]keyUse, len(ops))
	for i, op := range ops {
		keys[i], uses[i] = op.key, keyUse{action: audit.EntryDelete, name: op.key}
	}
	if s.recordUses(c, uses); uses[0].err != nil { // all have the same error
		for i := range ops {
			ops[i].result = failedResult(uses[i].err)
		}
		return
	}
	for i, err := range c.cache.RemoveMany(ctx, keys) {
		if err != nil {
			ops[i].result = failedResult(err)
			continue
		}
		ops[i].result = result{Status: http.StatusNoContent}
	}
}
