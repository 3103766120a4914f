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
	scanLimit     = 1_000_000        // entries that a scan looks at
	scanRate      = 5000             // entries that a scan looks at in a second
	scanDelay     = 5 * time.Second  // at most, so that servers that start together do not scan in step
	scanRetry     = time.Minute      // between a scan that failed and the next
	scanInterval  = time.Hour        // between two scans while there are such entries: some may be gone
	checkInterval = 15 * time.Second // between two looks for the keys that were missing
	maxUnknown    = 1000             // keys that are remembered
	maxLabels     = 100              // tenants in a line of the log
)

// UnknownKeys finds entries under keys that no keyset of their tenant has, as after the loss of a keyset. It is safe for concurrent use.
type UnknownKeyScanner struct {
	r     *Rotator
	log   *slog.Logger
	label func(tenant string) string

	delay, interval time.Duration // scanDelay and checkInterval

	mu    sync.Mutex
	found unknown
}

// unknown is entries under unknown keys, by owner and key.
type unknown struct {
	entries map[owned]int
	more    int // entries of keys beyond maxUnknown
}

type owned struct {
	owner string
	key   ID
}

// total returns the number of entries.
func (u *unknown) total() int {
	n := u.more
	for _, entries := range u.entries {
		n += entries
	}
	return n
}

// NewUnknownKeys returns an UnknownKeys for a rotator's cache. The log names tenants by label.
func NewUnknownKeyScanner(r *Rotator, log *slog.Logger, label func(tenant string) string) *UnknownKeyScanner {
	return &UnknownKeyScanner{r: r, log: log, label: label, delay: scanDelay, interval: checkInterval}
}

// Entries returns how many entries were found and are not known to open by now.
func (u *UnknownKeyScanner) Entries() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.found.total()
}

// Check returns envelope.ErrUnknownKey while there are such entries. It reads nothing.
func (u *UnknownKeyScanner) Check(context.Context) error {
	if n := u.Entries(); n > 0 {
		return fmt.Errorf("%d entries are under keys that no keyset has: restore the keysets from a backup: %w", n, envelope.ErrUnknownKey)
	}
	return nil
}

// Watch scans the cache once, at a limited rate. If it finds such entries, it logs and records that, and returns when their keys were
// restored, the entries are gone, or ctx ends.
func (u *UnknownKeyScanner) Watch(ctx context.Context) {
	var scanned time.Time
	for wait := rand.N(u.delay); sleep(ctx, wait) == nil; wait = u.interval {
		if scanned.IsZero() || time.Since(scanned) >= scanInterval {
			found, err := u.scan(ctx)
			if err == nil && scanned.IsZero() {
				err = u.announce(ctx, &found)
			}
			if err != nil && ctx.Err() == nil {
				u.log.WarnContext(ctx, "the scan for entries under unknown keys is tried again", "error", err)
				_ = sleep(ctx, scanRetry)
				continue
			}
			scanned = time.Now()
			u.set(found)
		} else if u.recheck(ctx) {
			scanned = time.Now().Add(-scanInterval) // there are others
		}
		if u.Entries() == 0 {
			return
		}
	}
}

func (u *UnknownKeyScanner) set(found unknown) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.found = found
}

// announce logs and records what a scan found.
func (u *UnknownKeyScanner) announce(ctx context.Context, found *unknown) error {
	if found.total() == 0 {
		return nil
	}
	u.set(*found) // although it may not be recorded yet
	tenants := map[string]int{}
	for one, entries := range found.entries {
		tenants[one.owner] += entries
	}
	labels := map[string]bool{}
	var events []audit.Event
	for owner, entries := range tenants {
		if len(labels) < maxLabels {
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

// scan looks at the entries of the cache, at scanLimit of them at most.
func (u *UnknownKeyScanner) scan(ctx context.Context) (found unknown, err error) {
	sweeper, ok := u.r.Store.(kv.Sweeper)
	if !ok {
		return found, errors.New("rotation: the store of the cache cannot be scanned")
	}
	topology, err := sweeper.Topology(ctx)
	found.entries = map[owned]int{}
	left := scanLimit
	for _, name := range topology.Parts {
		if err == nil && left > 0 {
			left, err = u.scanPart(ctx, sweeper, name, left, &found)
		}
	}
	return found, err
}

// scanPart looks at a part of the store, and returns how many more entries may be looked at.
func (u *UnknownKeyScanner) scanPart(ctx context.Context, sweeper kv.Sweeper, name string, limit int, found *unknown) (left int, err error) {
	v := newVisit(u.r, &Sweep{}, Part{Name: name})
	v.limit = rate.NewLimiter(scanRate, fullPage)
	ctx, stop := context.WithCancel(ctx)
	pages := make(chan page, 1)
	go v.list(ctx, sweeper, pages)
	defer func() {
		stop()
		for range pages { // until it is closed
		}
	}()
	for p := range pages {
		err := p.err
		if err == nil {
			err = u.look(ctx, v, p.entries, found)
		}
		if limit -= len(p.entries); err != nil || limit <= 0 {
			return 0, err
		}
	}
	return limit, ctx.Err()
}

// look adds those entries of a page that are under unknown keys.
func (u *UnknownKeyScanner) look(ctx context.Context, v *visit, all []entry, found *unknown) error {
	if err := v.meet(ctx, all); err != nil {
		return err
	}
	doubtful := map[owned]int{}
	for i := range all {
		e := &all[i]
		if e.head.Value == nil && e.head.Prefix == nil || e.tenant.gone {
			continue
		}
		if key, isPackage := headOf(&e.head); isPackage && !e.tenant.isPrimary(key) {
			doubtful[owned{e.owner, key.ID}]++
		}
	}
	known := u.known(ctx, doubtful)
	for one, entries := range doubtful {
		_, remembered := found.entries[one]
		switch {
		case known[one]:
		case remembered || len(found.entries) < maxUnknown:
			found.entries[one] += entries
		default:
			found.more += entries
		}
	}
	return ctx.Err()
}

// known reports which keys their owners have, or may have: keysets that cannot be read have any.
func (u *UnknownKeyScanner) known(ctx context.Context, keys map[owned]int) map[owned]bool {
	owners := map[string]bool{}
	for one := range keys {
		owners[one.owner] = true
	}
	known := map[owned]bool{}
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
				known[one] = err != nil || d.Shredded() || has(d, one.key)
			}
		}
	}
	return known
}

// has reports whether one of a tenant's keysets has a key, or had it before it was destroyed.
func has(d *envelope.Document, id ID) bool {
	return slices.ContainsFunc(d.Keysets, func(s envelope.Keyset) bool { return s.Key(format.KeyID(id)) != nil })
}

// recheck forgets keys that were restored. It reports whether only entries of keys that it does not remember are left.
func (u *UnknownKeyScanner) recheck(ctx context.Context) (others bool) {
	u.mu.Lock()
	keys := maps.Clone(u.found.entries)
	u.mu.Unlock()
	known := u.known(ctx, keys)
	if ctx.Err() != nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.found.entries, func(one owned, _ int) bool { return known[one] })
	return len(u.found.entries) == 0 && u.found.more > 0
}
