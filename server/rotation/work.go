package rotation

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// Work goes on with a tenant's rotation: for a few seconds where there are entries to go through, and not
// where another process does. It gives the record, nil where there is none, and whether there is more to do
// now.
func (r *Rotator) Work(ctx context.Context, tenant string) (record *Record, more bool, err error) {
	record, err = r.settle(ctx, tenant)
	if errors.Is(err, envelope.ErrKeyDestroyed) {
		return r.abandon(ctx, record)
	}
	if err != nil || record == nil || !record.Active() || record.Next > r.now() || r.Store == nil {
		return record, false, err
	}
	mine, err := r.hold(ctx)
	if err != nil || !mine {
		return record, false, err
	}
	if record.State == Grace {
		record, err = r.advance(ctx, record, func(record *Record) { record.begin(r.now()) })
		return record, true, ignoreMoved(err)
	}
	record, end, err := r.pass(ctx, record)
	if err == nil && end {
		record, err = r.finish(ctx, record)
	}
	if errors.Is(err, envelope.ErrKeyDestroyed) {
		return r.abandon(ctx, record)
	}
	return record, err == nil || errors.Is(err, errMoved), ignoreMoved(err)
}

func ignoreMoved(err error) error {
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// abandon ends the rotation of a tenant that was shredded.
func (r *Rotator) abandon(ctx context.Context, record *Record) (*Record, bool, error) {
	record, err := r.advance(ctx, record, func(record *Record) {
		record.State, record.Ended, record.Cursor = Done, r.now(), nil
	})
	return record, false, ignoreMoved(err)
}

// rescan is the least time between two scans, where the first found something.
const rescan = time.Hour

// finish decides what follows when all entries were gone through.
func (r *Rotator) finish(ctx context.Context, now *Record) (*Record, error) {
	ttl := r.Ring.TTL().Milliseconds()
	return r.advance(ctx, now, func(record *Record) {
		record.Cursor, record.Counts, record.Failures, record.Found = nil, now.Counts, now.Failures, now.Found
		unknown := record.Rotated + ttl // until then a process may write under a former key
		switch {
		case record.State == Reencrypting:
			record.resealed(unknown, max(unknown, r.now()+r.Grace.Milliseconds()))
			record.await(r.now())
		case !record.scanned(r.now() + max(ttl, rescan.Milliseconds())):
			record.await(r.now())
		case record.State == FirstScan:
			record.State = Disabling
		case record.State == SecondScan:
			record.State = Destroying
		}
	})
}

// look is how often Serve looks for what there is to do, and for how long it takes its leave.
const look = 2 * time.Second

// Serve does what there is to do, for all tenants, until ctx ends.
func (r *Rotator) Serve(ctx context.Context, log *slog.Logger) {
	var ages time.Time
	var saved time.Time
	used := newUsed()
	var last looked
	for sleep(ctx, r.look) == nil {
		if time.Since(saved) >= usesInterval {
			saved = time.Now()
			r.report(ctx, log, "", used.save(ctx, r))
		}
		if time.Since(ages) >= ageInterval {
			ages = time.Now()
			r.beginDue(ctx, log)
		}
		for r.round(ctx, log, &last) { // until there is nothing left
		}
		r.report(ctx, log, "", r.Release(ctx))
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), look)
	defer cancel()
	r.report(leave, log, "", errors.Join(r.Release(leave), used.save(leave, r)))
}

// looked is what a look at all records came to: until one of them changes, or the time, there is nothing to do.
type looked struct {
	position keystore.Position
	until    int64
}

func (l *looked) see(position keystore.Position, records []*Record, now int64) {
	l.position, l.until = position, now+lookAnyway.Milliseconds()
	for _, record := range records {
		if record.Active() {
			l.until = min(l.until, record.Next)
		}
	}
}

// lookAnyway is how often Serve reads all records: who was killed may have changed one, and not said so.
const lookAnyway = time.Minute

// round does a part of what there is to do for each tenant, those with a compromised key first, and reports
// whether there is more to do now.
func (r *Rotator) round(ctx context.Context, log *slog.Logger, last *looked) bool {
	changed, position, err := r.changed(ctx, last.position)
	if err == nil && !changed && r.now() < last.until {
		last.position = position
		return false
	}
	var records []*Record
	if err == nil {
		records, err = r.Records(ctx)
	}
	if err != nil {
		r.report(ctx, log, "", err)
		return false
	}
	r.seeAll(records)
	last.see(position, records, r.now())
	slices.SortStableFunc(records, func(a, b *Record) int { return rank(a) - rank(b) })
	again := false
	for _, record := range records {
		if !record.Active() || record.Next > r.now() {
			continue
		}
		_, more, err := r.Work(ctx, record.Tenant)
		r.report(ctx, log, record.Tenant, err)
		if again = again || more && err == nil; more && record.Compromised {
			break
		}
	}
	return again && ctx.Err() == nil
}

// changed reports whether a record may have changed since a position, and the position behind the changes.
func (r *Rotator) changed(ctx context.Context, since keystore.Position) (changed bool, next keystore.Position, err error) {
	changes, next, err := r.Keystore.Changes(ctx, since)
	if errors.Is(err, keystore.ErrFeedLost) {
		since = ""
		_, next, err = r.Keystore.Changes(ctx, since)
	}
	for _, c := range changes {
		changed = changed || c.Kind == keystore.Rotations
	}
	return changed || since == "", next, err
}

func rank(r *Record) int {
	if r.Compromised {
		return 0
	}
	return 1
}

func (r *Rotator) report(ctx context.Context, log *slog.Logger, tenant string, err error) {
	if err != nil && ctx.Err() == nil {
		r.see(func(seen *Seen) { seen.Errors++ })
		log.Error("rotation is held up, and is tried again", "tenant", tenant, "error", err)
	}
}
