package limit

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	failureWindow = time.Minute // period in which failures are counted; after as long without a failure, blocks are reset
	firstBlock    = time.Second // doubled with each further failure
	longestBlock  = time.Minute
	maxAddresses  = 10_000
)

// Failures counts wrong tokens by client address and slows down clients that guess tokens. It never refuses a valid
// token. If clients connect through a proxy, the address must be that of the client, or all clients share the proxy's
// limit. It is safe for concurrent use.
type Failures struct {
	maxPerMinute int
	now          func() time.Time

	mu    sync.Mutex
	known *simplelru.LRU[netip.Prefix, *addressHistory]
}

// addressHistory is the history of an address's failures.
type addressHistory struct {
	windowStart  time.Time // start of the period of count
	count        int       // failures in the period
	blocks       int       // consecutive blocks
	blockedUntil time.Time
}

// NewFailures returns Failures that allow each address a number of wrong tokens per minute. After that, the address is
// blocked for a second, and for up to a minute if it continues. A nil now means time.Now.
func NewFailures(perMinute int, now func() time.Time) *Failures {
	if now == nil {
		now = time.Now
	}
	return &Failures{maxPerMinute: perMinute, now: now, known: newLRU[netip.Prefix, *addressHistory](maxAddresses)}
}

// RecordFailure counts a wrong token of an address. If the address is blocked, it returns a Refusal that wraps
// errWrongTokens. A later valid token does not reset the count, because it may be the attacker's own.
func (f *Failures) RecordFailure(address netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, now := Network(address), f.now()
	h, ok := f.known.Get(key)
	if !ok {
		h = &addressHistory{windowStart: now}
		f.known.Add(key, h)
	}
	if wait := h.blockedUntil.Sub(now); wait > 0 {
		return &Refusal{Wait: wait, Cause: errWrongTokens}
	}
	h.fail(now, f.maxPerMinute)
	return nil
}

func (h *addressHistory) fail(now time.Time, free int) {
	if h.blocks > 0 && now.Sub(h.blockedUntil) >= failureWindow {
		h.blocks = 0
	}
	if now.Sub(h.windowStart) >= failureWindow {
		h.windowStart, h.count = now, 0
	}
	h.count++
	if h.blocks == 0 && h.count <= free {
		return
	}
	h.blockedUntil = now.Add(min(firstBlock<<min(h.blocks, 6), longestBlock))
	h.blocks++
}

// Network returns the range of addresses that one client can use: a single IPv4 address, or 64 bits of IPv6 (RFC 6177).
// All invalid addresses share one range.
func Network(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

func newLRU[K comparable, V any](size int) *simplelru.LRU[K, V] {
	lru, _ := simplelru.NewLRU[K, V](size, nil) // fails only if the size is not positive
	return lru
}
