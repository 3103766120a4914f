package recovery

import (
	"context"
	"encoding/hex"
	"strings"
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

// Shred destroys a tenant's roots and keys; Settle waits until it is seen everywhere. It is recorded first, with the lines of roots
// that it is about: if the store is lost and an earlier backup restored, the restore finds there that the tenant was shredded. To shred
// again changes nothing. It returns keyring.ErrNoTenant, and others of the store and the audit log.
func (r *Recovery) Shred(ctx context.Context, tenant string) error {
	d, err := r.Keyring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	system, err := r.Keyring.System(ctx)
	if err == nil {
		_, err = system.Key(ctx, envelope.UseShreds) // before anything is announced: making it can fail
	}
	if err != nil {
		return err
	}
	var lines []string
	for _, line := range d.Lines() {
		lines = append(lines, hex.EncodeToString(line[:]))
	}
	for i := range d.Shreds { // which an earlier attempt may have left without a success on record
		lines = append(lines, hex.EncodeToString(d.Shreds[i].Line[:]))
	}
	e := audit.Event{Action: audit.TenantShred, Operation: r.Operation, Tenant: tenant, Facts: audit.Facts{audit.FactFrom: strings.Join(lines, " ")}.With(r.Reason)}
	return audit.Announce(ctx, r.Audit, func(ctx context.Context) error { return r.Keyring.Shred(ctx, tenant) }, e)
}

// Settle returns when every server that reaches the store of keysets has had the time to see what was done
// before, or when ctx ends.
func WaitForPropagation(ctx context.Context) {
	select {
	case <-time.After(settled):
	case <-ctx.Done():
	}
}

// LostKeys are the keys of a use and class that are not destroyed yet.
type LostKeys struct {
	Use            format.Use
	Class          classify.Class
	Keys           int
	Oldest, Newest time.Time
}

// LossOf returns what shredding a tenant destroys.
func PreviewShred(d *envelope.Document) (loss []LostKeys) {
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
			if made.After(lost.Newest) {
				lost.Newest = made
			}
			lost.Keys++
		}
		if lost.Keys > 0 {
			loss = append(loss, lost)
		}
	}
	return loss
}
