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

// propagationTime is how long servers that reach the keystore take to notice a change: they check it once per
// keyring.CheckInterval, and a check takes some time.
const propagationTime = 3 * keyring.CheckInterval

// Shred destroys a tenant's roots and keys. Call [WaitForPropagation] to wait until all servers have noticed. Before it
// destroys anything, Shred records the tenant's root lines in the audit log, so that restoring an earlier backup finds
// the shredding even if the store is lost. Shredding a tenant again changes nothing. Shred returns keyring.ErrNoTenant,
// or an error of the store or the audit log.
func (r *Recovery) Shred(ctx context.Context, tenant string) error {
	d, err := r.Keyring.Document(ctx, tenant)
	if err != nil {
		return err
	}
	system, err := r.Keyring.System(ctx)
	if err == nil {
		_, err = system.Key(ctx, envelope.UseShreds) // before the event is recorded, because creating the key can fail
	}
	if err != nil {
		return err
	}
	var lines []string
	for _, line := range d.Lines() {
		lines = append(lines, hex.EncodeToString(line[:]))
	}
	for i := range d.Shreds { // an earlier attempt may have shredded these without recording its success
		lines = append(lines, hex.EncodeToString(d.Shreds[i].Line[:]))
	}
	e := audit.Event{Action: audit.TenantShred, Operation: r.Operation, Tenant: tenant, Facts: audit.Facts{audit.FactFrom: strings.Join(lines, " ")}.With(r.Reason)}
	return audit.Announce(ctx, r.Audit, func(ctx context.Context) error { return r.Keyring.Shred(ctx, tenant) }, e)
}

// WaitForPropagation waits until every server that reaches the keystore has had the time to notice earlier changes,
// or until ctx ends.
func WaitForPropagation(ctx context.Context) {
	select {
	case <-time.After(propagationTime):
	case <-ctx.Done():
	}
}

// LostKeys counts the keys of a use and class that a shredding would destroy.
type LostKeys struct {
	Use            format.Use
	Class          classify.Class
	Keys           int
	Oldest, Newest time.Time // creation times
}

// PreviewShred returns the keys that shredding a tenant destroys. Keys that are already destroyed are left out.
func PreviewShred(d *envelope.Document) (preview []LostKeys) {
	for _, s := range d.Keysets {
		lost := LostKeys{Use: s.Use, Class: s.Class}
		for _, k := range s.Keys {
			if k.State == envelope.Destroyed {
				continue
			}
			created := time.UnixMilli(k.CreatedAt)
			if lost.Keys == 0 || created.Before(lost.Oldest) {
				lost.Oldest = created
			}
			if created.After(lost.Newest) {
				lost.Newest = created
			}
			lost.Keys++
		}
		if lost.Keys > 0 {
			preview = append(preview, lost)
		}
	}
	return preview
}
