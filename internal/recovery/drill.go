package recovery

import (
	"context"
	"io"
	"time"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// DrillReport lists what a drill opened.
type DrillReport struct {
	Created  time.Time // of the backup
	Tenants  int
	Shredded int // tenants among these that were shredded
	Roots    int
	Keys     int
	Failures []Failure // documents that did not open completely
}

// Drill proves that a backup opens: the KEKs unwrap every root, every record under the roots is verified and every
// key unwrapped. It writes to no store. It returns keyring.ErrBackup, and an error if anything did not open, with a
// report that names it.
func (r *Recovery) Drill(ctx context.Context, file io.ReadSeeker) (*DrillReport, error) {
	backup, err := r.Keyring.OpenBackup(ctx, file)
	if err == nil && backup.Tenants == 0 {
		err = ErrNoKeys
	}
	if err != nil {
		return nil, r.recordEnd(ctx, audit.BackupDrill, 0, 0, err)
	}
	report, opened := &DrillReport{Created: backup.CreatedAt, Tenants: backup.Tenants}, 0
	report.Failures, err = r.forEach(ctx, backup.Documents(), backup.Tenants, func(ctx context.Context, d *envelope.Document) (func(), error) {
		roots, keys, err := r.Keyring.VerifyDocument(ctx, d)
		return func() {
			if err == nil && d.Owner != "" {
				opened++
			}
			report.Roots, report.Keys = report.Roots+roots, report.Keys+keys
			if d.Shredded() {
				report.Shredded++
			}
		}, err
	})
	return report, r.recordEnd(ctx, audit.BackupDrill, opened, len(report.Failures), err)
}
