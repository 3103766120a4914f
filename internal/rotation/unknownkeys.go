package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

const (
	maxScanned       = 1_000_000        // entries that a scan reads at most
	scanRate         = 5000             // entries that a scan reads per second
	maxScanDelay     = 5 * time.Second  // random, so that servers that start together do not scan at the same time
	scanRetry        = time.Minute      // pause after a scan that failed
	scanInterval     = time.Hour        // pause between scans while there are such entries
	recheckInterval  = 15 * time.Second // pause between two checks for restored keys
	maxUnknownKeys   = 1000             // number of keys that are remembered
	maxLoggedTenants = 100              // number of tenants in a log line
)

// UnknownKeyScanner finds entries under keys that no keyset of their tenant contains, as after the loss of a keyset. It
// is safe for concurrent use.
type UnknownKeyScanner struct {
	r     *Rotator
	log   *slog.Logger
	label func(tenant string) string

	delay, interval time.Duration // maxScanDelay and recheckInterval, except in tests

	mu    sync.Mutex
	found unknownEntries
}

// unknownEntries counts entries under unknown keys.
type unknownEntries struct {
	entries  map[ownedKey]int
	overflow int // entries under keys beyond maxUnknownKeys
}

type ownedKey struct {
	owner string
	key   ID
}

// total returns the number of entries.
func (u *unknownEntries) total() int {
	n := u.overflow
	for _, entries := range u.entries {
		n += entries
	}
	return n
}

// NewUnknownKeyScanner returns a scanner of a rotator's cache. label returns the name of a tenant for the log.
func NewUnknownKeyScanner(r *Rotator, log *slog.Logger, label func(tenant string) string) *UnknownKeyScanner {
	return &UnknownKeyScanner{r: r, log: log, label: label, delay: maxScanDelay, interval: recheckInterval}
}

// Entries returns how many entries were found, without those whose keys were restored since.
func (u *UnknownKeyScanner) Entries() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.found.total()
}

// Check returns an error that wraps envelope.ErrUnknownKey while there are such entries. It does no I/O.
func (u *UnknownKeyScanner) Check(context.Context) error {
	if n := u.Entries(); n > 0 {
		return fmt.Errorf("%d entries are under keys that no keyset has: restore the keysets from a backup: %w", n, envelope.ErrUnknownKey)
	}
	return nil
}

// Watch scans the cache once, at a limited rate. If it finds such entries, it logs and records that, and checks again
// until their keys are restored or the entries are gone. It returns then, or when ctx ends.
func (u *UnknownKeyScanner) Watch(ctx context.Context) {
	var scanned time.Time
	for wait := rand.N(u.delay); sleep(ctx, wait) == nil; wait = u.interval {
		if scanned.IsZero() || time.Since(scanned) >= scanInterval {
			found, err := u.scan(ctx)
			if err == nil && scanned.IsZero() {
				err = u.reportFound(ctx, &found)
			}
			if err != nil && ctx.Err() == nil {
				u.log.WarnContext(ctx, "the scan for entries under unknown keys failed and is tried again", "error", err)
				_ = sleep(ctx, scanRetry)
				continue
			}
			scanned = time.Now()
			u.setFound(found)
		} else if u.dropRestored(ctx) {
			scanned = time.Now().Add(-scanInterval) // scan for the entries that were not remembered
		}
		if u.Entries() == 0 {
			return
		}
	}
}

func (u *UnknownKeyScanner) setFound(found unknownEntries) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.found = found
}

// reportFound logs and records the result of a scan.
func (u *UnknownKeyScanner) reportFound(ctx context.Context, found *unknownEntries) error {
	if found.total() == 0 {
		return nil
	}
	u.setFound(*found) // before the audit log, which may refuse the events
	tenants := map[string]int{}
	for one, entries := range found.entries {
		tenants[one.owner] += entries
	}
	labels := map[string]bool{}
	var events []audit.Event
	for owner, entries := range tenants {
		if len(labels) < maxLoggedTenants {
			labels[u.label(owner)] = true
		}
		events = append(events, audit.Event{
			Action: audit.KeyUnknown, Operation: "serve", Tenant: owner, Code: envelope.ErrUnknownKey.Code(),
			Facts: audit.Facts{audit.FactFailed: strconv.Itoa(entries)},
		})
	}
	u.log.ErrorContext(ctx, "the cache has entries under keys that no keyset of their tenant has: if keysets were lost, restore them from a backup",
		"entries", found.total(), "tenants", slices.Sorted(maps.Keys(labels)))
	return u.r.Audit.Record(ctx, events...)
}

// scan reads the entries of the cache, up to maxScanned.
func (u *UnknownKeyScanner) scan(ctx context.Context) (found unknownEntries, err error) {
	sweeper, ok := u.r.Store.(kv.Sweeper)
	if !ok {
		return found, errors.New("rotation: the store of the cache does not support scans")
	}
	topology, err := sweeper.Topology(ctx)
	found.entries = map[ownedKey]int{}
	left := maxScanned
	for _, name := range topology.Parts {
		if err == nil && left > 0 {
			left, err = u.scanPart(ctx, sweeper, name, left, &found)
		}
	}
	return found, err
}

// scanPart scans a part of the store and returns how many more entries may be read.
func (u *UnknownKeyScanner) scanPart(ctx context.Context, sweeper kv.Sweeper, name string, limit int, found *unknownEntries) (left int, err error) {
	v := newVisit(u.r, &Sweep{}, sweepPart{Name: name})
	v.limiter = rate.NewLimiter(scanRate, fullRatePage)
	ctx, stop := context.WithCancel(ctx)
	pages := make(chan page, 1)
	go v.listPages(ctx, sweeper, pages)
	defer func() {
		stop()
		for range pages { // unblocks listPages until it closes the channel
		}
	}()
	for p := range pages {
		err := p.err
		if err == nil {
			err = u.scanPage(ctx, v, p.entries, found)
		}
		if limit -= len(p.entries); err != nil || limit <= 0 {
			return 0, err
		}
	}
	return limit, ctx.Err()
}

// scanPage adds the entries of a page that are under unknown keys.
func (u *UnknownKeyScanner) scanPage(ctx context.Context, v *partVisit, all []entry, found *unknownEntries) error {
	if err := v.loadTenants(ctx, all); err != nil {
		return err
	}
	candidates := map[ownedKey]int{}
	for i := range all {
		e := &all[i]
		if e.stored.Value == nil && e.stored.Prefix == nil || e.tenant.shredded {
			continue
		}
		if key, isPackage := claimedKey(&e.stored); isPackage && !e.tenant.isPrimary(key) {
			candidates[ownedKey{e.owner, key.ID}]++
		}
	}
	known := u.findKnown(ctx, candidates)
	for one, entries := range candidates {
		_, remembered := found.entries[one]
		switch {
		case known[one]:
		case remembered || len(found.entries) < maxUnknownKeys:
			found.entries[one] += entries
		default:
			found.overflow += entries
		}
	}
	return ctx.Err()
}

// findKnown returns the keys that their owners have. If keysets cannot be read, all their owner's keys count as known.
func (u *UnknownKeyScanner) findKnown(ctx context.Context, keys map[ownedKey]int) map[ownedKey]bool {
	owners := map[string]bool{}
	for one := range keys {
		owners[one.owner] = true
	}
	known := map[ownedKey]bool{}
	if len(owners) == 0 {
		return known
	}
	documents := u.r.Keyring.DocumentsByID(ctx, slices.Collect(maps.Keys(owners)))
	for owner := range owners {
		d, err := documents[owner], error(nil)
		if d == nil {
			d, err = u.r.Keyring.Document(ctx, owner)
		}
		for one := range keys {
			if one.owner == owner && !errors.Is(err, keyring.ErrNoTenant) {
				known[one] = err != nil || d.Shredded() || hasKey(d, one.key)
			}
		}
	}
	return known
}

// hasKey reports whether one of a tenant's keysets contains a key, destroyed or not.
func hasKey(d *envelope.Document, id ID) bool {
	return slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool { return s.Key(format.KeyID(id)) != nil })
}

// dropRestored drops keys that were restored. It reports whether only entries of keys beyond maxUnknownKeys are left.
func (u *UnknownKeyScanner) dropRestored(ctx context.Context) (overflowOnly bool) {
	u.mu.Lock()
	keys := maps.Clone(u.found.entries)
	u.mu.Unlock()
	known := u.findKnown(ctx, keys)
	if ctx.Err() != nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.found.entries, func(one ownedKey, _ int) bool { return known[one] })
	return len(u.found.entries) == 0 && u.found.overflow > 0
}
