package limit

import (
	"net/netip"
	"sync"
	"time"
)

const (
	window       = time.Minute // in which the free failures are counted, and without a failure in which everything is forgiven
	firstBlock   = time.Second // doubled with each failure
	longestBlock = time.Minute
	maxAddresses = 10_000
)

// Failures counts wrong tokens by address. Behind a proxy that must be the client's address; otherwise all clients share
// the proxy's. It never refuses a right token. It is safe for concurrent use.
type Failures struct {
	free int
	now  func() time.Time

	mu    sync.Mutex
	known *recent[netip.Prefix, *history]
}

// history is what an address did.
type history struct {
	since   time.Time // of count
	count   int       // failures within the window
	blocks  int       // in a row
	blocked time.Time // until then
}

// NewFailures returns Failures that answer an address with ErrWrongTokens once it sent more than that many wrong tokens
// in a minute: for a second at first, and for up to a minute as it goes on. A nil clock is time.Now.
func NewFailures(perMinute int, now func() time.Time) *Failures {
	if now == nil {
		now = time.Now
	}
	return &Failures{free: perMinute, now: now, known: newRecent[netip.Prefix, *history](maxAddresses)}
}

// Note counts a wrong token of an address. It returns a Refusal that wraps ErrWrongTokens if the address has to wait
// before it sends another one. A later right token forgives nothing: it may be the attacker's own.
func (f *Failures) RecordFailure(address netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	key, now := Network(address), f.now()
	h, ok := f.known.get(key)
	if !ok {
		h = &history{since: now}
		f.known.add(key, h, func(*history) bool { return true })
	}
	if wait := h.blocked.Sub(now); wait > 0 {
		return &Refusal{Wait: wait, Cause: ErrWrongTokens}
	}
	h.fail(now, f.free)
	return nil
}

func (h *history) fail(now time.Time, free int) {
	if h.blocks > 0 && now.Sub(h.blocked) >= window {
		h.blocks = 0
	}
	if now.Sub(h.since) >= window {
		h.since, h.count = now, 0
	}
	h.count++
	if h.blocks == 0 && h.count <= free {
		return
	}
	h.blocked = now.Add(min(firstBlock<<min(h.blocks, 6), longestBlock))
	h.blocks++
}

// Network returns the addresses that one client can send from: an address of IPv4, 64 bits of IPv6 (RFC 6177). Invalid
// addresses share one network.
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
