package recovery

import (
	"context"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// settled is how long after a shredding every server that reaches the store of keysets has seen it: it looks once in
// keyring.CheckInterval, and takes a while to look.
const settled = 3 * keyring.CheckInterval

// Shred destroys a tenant's roots and keys; Settle waits until it is seen everywhere. It is recorded first:
// if the store is lost and an earlier backup restored, the audit log says that the tenant stays
// shredded, and which lines of roots that is about. To shred again
// changes nothing. It returns keyring.ErrNoTenant, and others of the store and the audit log.
func (r *Recovery) Shred(ctx context.Context, tenant string) error {
	d, err := r.Ring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	system, err := r.Ring.System(ctx)
	if err == nil {
		_, err = system.Key(ctx, envelope.UseShreds) // before anything is announced: making it can fail
	}
	if err != nil {
		return err
	}
	e := audit.Event{Action: audit.TenantShred, Operation: r.Operation, Tenant: tenant, Facts: audit.Facts{audit.FactFrom: lineText(ended(d))}}
	e.Facts = e.Facts.With(r.Reason)
	return audit.Announce(ctx, r.Audit, func(ctx context.Context) error { return r.Ring.Shred(ctx, tenant) }, e)
}

// ended returns the lines that a document has, or had before it was shredded.
func ended(d *envelope.Document) []Line {
	lines := d.Lines()
	for i := range d.Shreds {
		lines = append(lines, d.Shreds[i].Line)
	}
	return lines
}

// Settle returns when every server that reaches the store of keysets has had the time to see what was done
// before, or when ctx ends.
func Settle(ctx context.Context) {
	timer := time.NewTimer(settled)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Loss is what shredding a tenant destroys.
type Loss struct {
	Shredded bool // already
	Keys     []LostKeys
}

// LostKeys are the keys of a use and class that are not destroyed yet.
type LostKeys struct {
	Use            format.Use
	Class          classify.Class
	Keys           int
	Oldest, Newest time.Time
}

// Loss tells what shredding a tenant would destroy. It returns keyring.ErrNoTenant.
func (r *Recovery) Loss(ctx context.Context, tenant string) (*Loss, error) {
	d, err := r.Ring.Document(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return LossOf(d), nil
}

// LossOf is Loss for who has the tenant's keysets.
func LossOf(d *envelope.Document) *Loss {
	loss := &Loss{Shredded: d.Shredded()}
	for _, s := range d.Keysets {
		lost := LostKeys{Use: s.Use, Class: s.Class}
		for _, k := range s.Keys {
			if k.State == envelope.Destroyed {
				continue
			}
			made := time.UnixMilli(k.CreatedAt)
			if lost.Keys == 0 || made.Before(lost.Oldest) {
				lost.Oldest = made
			}
			if lost.Keys == 0 || made.After(lost.Newest) {
				lost.Newest = made
			}
			lost.Keys++
		}
		if lost.Keys > 0 {
			loss.Keys = append(loss.Keys, lost)
		}
	}
	return loss
}
