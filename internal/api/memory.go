package api

import (
	"context"
	"slices"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/coffer-storage/coffer/internal/session"
	"github.com/coffer-storage/coffer/server/cache"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/seal"
)

const (
	// uncounted is the memory in bytes that a request may use without a reservation. Even the largest number of connections
	// uses little memory this way.
	uncounted = 128 << 10
	// valueCopies is the number of copies of a value that are in memory at the same time: the value and its package.
	valueCopies = 2
	// jsonCopies is that number for a value that is sealed to JSON or opened from JSON: the text, its bytes, the package, and
	// the JSON of the result.
	jsonCopies = 4
)

// callMemory is the memory that a request uses.
type callMemory struct {
	free        int       // bytes that the request may still use without a reservation
	reserved    int64     // bytes that are reserved until the request ends
	reservedOne int64     // bytes that are reserved for the current item of a batch
	buffers     []*[]byte // from bufferPool
}

// reserve reserves n bytes until the request ends or releaseSince releases them. It returns the error of limit.Memory if there
// is not enough.
func (s *server) reserve(c *call, n int) error {
	m := &c.memory
	if n <= m.free {
		m.free -= n
		return nil
	}
	if err := s.memory.Reserve(c.id.Tenant, int64(n)); err != nil {
		return c.refuse(err)
	}
	m.reserved += int64(n)
	return nil
}

// reserveOne reserves n bytes for the current item of a batch and releases the reservation of the item before it.
func (s *server) reserveOne(c *call, n int) error {
	m := &c.memory
	if m.reservedOne > 0 {
		s.memory.Release(c.id.Tenant, m.reservedOne)
		m.reservedOne = 0
	}
	if n <= m.free {
		return nil
	}
	if err := s.memory.Reserve(c.id.Tenant, int64(n)); err != nil {
		return c.refuse(err)
	}
	m.reservedOne = int64(n)
	return nil
}

// memoryMark is the state of callMemory at one moment.
type memoryMark struct {
	free     int
	reserved int64
	buffers  int
}

func (m *callMemory) mark() memoryMark { return memoryMark{m.free, m.reserved, len(m.buffers)} }

// releaseSince releases the memory that was reserved since the mark, for an item of a batch that failed.
func (s *server) releaseSince(c *call, mark memoryMark) {
	m := &c.memory
	m.returnBuffers(mark.buffers)
	if n := m.reserved - mark.reserved; n > 0 {
		s.memory.Release(c.id.Tenant, n)
	}
	m.free, m.reserved = mark.free, mark.reserved
}

// releaseMemory releases all memory of the request.
func (s *server) releaseMemory(c *call) {
	m := &c.memory
	m.returnBuffers(0)
	if n := m.reserved + m.reservedOne; n > 0 {
		s.memory.Release(c.id.Tenant, n)
		m.reserved, m.reservedOne = 0, 0
	}
}

const (
	minPooled       = 16 << 10 // a smaller buffer is cheaper to allocate than to clear
	packageOverhead = 1 << 10  // bytes that a package has in addition to most values
)

// bufferPool has the buffers of values and packages. Allocating them for each request would cost more than the cryptography.
var bufferPool = sync.Pool{New: func() any { return new([]byte) }}

// buffer returns an empty slice whose capacity is at least n, or nil if it is cheaper to allocate one. The slice belongs to the
// request until it ends, and nothing may keep it longer.
func (m *callMemory) buffer(n int) []byte {
	if n < minPooled || n > uncounted+packageOverhead {
		return nil
	}
	b := bufferPool.Get().(*[]byte)
	if cap(*b) < n {
		*b = make([]byte, 0, n)
	}
	m.buffers = append(m.buffers, b)
	return *b
}

// returnBuffers clears all buffers but the first keep and returns them to the pool. They are cleared so that no value remains
// where another request reads.
func (m *callMemory) returnBuffers(keep int) {
	for _, b := range m.buffers[keep:] {
		clear((*b)[:cap(*b)])
		bufferPool.Put(b)
	}
	clear(m.buffers[keep:])
	m.buffers = m.buffers[:keep]
}

// memLimitedStore is the store of one call. It counts each value that is read against the call's memory, and reads a large
// value only after memory for it is reserved.
type memLimitedStore struct {
	kv.Store
	server *server
	call   *call
}

// Read implements kv.Store. It first reads with a small limit, and then reads the values that are longer.
func (m *memLimitedStore) Read(ctx context.Context, keys []string, limit int) ([]kv.ReadResult, error) {
	found, err := m.Store.Read(ctx, keys, min(limit, uncounted))
	if err != nil || limit <= uncounted {
		return found, err
	}
	for i := range found {
		if err := m.readLarge(ctx, keys[i:i+1], &found[i], limit); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// readLarge reserves memory for a value. If the value was longer than the first limit, readLarge also reads it.
func (m *memLimitedStore) readLarge(ctx context.Context, key []string, found *kv.ReadResult, limit int) error {
	for found.Exists() {
		if found.Size > kv.MaxValueSize { // no server wrote it and it does not open, so it needs no memory
			*found = kv.ReadResult{Value: []byte{0}, Size: 1}
		}
		needed, unread := found.Size, found.Value == nil && found.Size <= limit
		if unread {
			needed *= valueCopies
		}
		if err := m.server.reserve(m.call, needed); err != nil {
			return err
		}
		m.server.charge(m.call, found.Size/bytesPerCharge)
		if !unread {
			return nil
		}
		whole, err := m.Store.Read(ctx, key, found.Size)
		if err != nil {
			return err
		}
		if *found = whole[0]; found.Value != nil {
			return nil
		}
		// A longer value replaced it in the meantime, and needs more memory.
	}
	return nil
}

// The amounts that count as one more request against the tenant's limit.
const (
	bytesPerCharge = 16 << 10 // of values
	keysPerCharge  = 25       // of a list
	linesPerCharge = 100      // of the audit log that were searched
)

// charge counts the request as n more requests of its tenant. Refused requests are not charged.
func (s *server) charge(c *call, n int) { s.limits.Charge(c.id.Tenant, n) }

// Keys returns the unlocked keys of a tenant, and creates them for a new tenant. For each tenant it must always return the
// same value.
type Keys func(ctx context.Context, tenant string) (seal.Keys, error)

// tenant has what the operations of one tenant work with.
type tenant struct {
	cache       *cache.Cache
	service     *seal.Service
	newSessions func(kv.Store) *session.Manager
}

// Package seal checks for these interfaces at run time, so a renamed method would go unnoticed.
var (
	_ seal.ForeignKeyChecker = (*keyring.Tenant)(nil)
	_ seal.DropNotifier      = (*keyring.Tenant)(nil)
)

// maxTenants is the number of tenants whose ciphers are kept: the ones that were used last.
const maxTenants = 1024

// tenants are the tenants that were used last.
type tenants struct {
	store    kv.Store
	keys     Keys
	cache    []cache.Option
	sessions []session.Option

	recent *lru.Cache[string, *tenant]
}

func newTenants(o *Options) *tenants {
	recent, _ := lru.New[string, *tenant](maxTenants) // fails only for sizes below 1
	return &tenants{store: o.Store, keys: o.Keys, cache: o.Cache, sessions: o.Sessions, recent: recent}
}

// get returns a tenant. It always asks for the keys: if they were evicted from memory, this waits for the KMS within the time
// limit of the request.
func (t *tenants) get(ctx context.Context, id string) (*tenant, error) {
	keys, err := t.keys(ctx, id)
	if err != nil {
		return nil, err
	}
	if found, ok := t.recent.Get(id); ok {
		return found, nil
	}
	service := seal.NewKeysetService(keys)
	options := append(slices.Clone(t.sessions), session.WithTenantKeys(service.Sealer()))
	created := &tenant{
		cache: cache.New(t.store, service.Sealer(), t.cache...), service: service,
		newSessions: func(store kv.Store) *session.Manager { return session.New(store, id, options...) },
	}
	if found, exists, _ := t.recent.PeekOrAdd(id, created); exists { // another request created it in the meantime
		return found, nil
	}
	return created, nil
}
