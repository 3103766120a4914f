package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/duration"
	"github.com/coffer-storage/coffer/server/audit"
)

func checkAuditLog(_ context.Context, p *installation) []finding {
	c := p.config
	if gone, err := auditLogGone(c); err != nil || gone {
		return []finding{failureFinding("", "%s", errorText(errors.Join(err, errAuditLogGone)))}
	}
	if !exists(auditPath(c)) {
		return []finding{okFinding("there is none yet")}
	}
	bytes, err := directorySize(auditPath(c))
	if err != nil {
		return []finding{failureFinding("", "%s", errorText(err))}
	}
	switch budget := c.Audit.Budget; {
	case budget > 0 && bytes >= budget:
		return []finding{failureFinding("archive and delete earlier files, or raise COFFER_AUDIT_BUDGET", "it has used up its budget, and no key is used: %s of %s", formatSize(bytes), formatSize(budget))}
	case budget > 0 && bytes > budget/10*8:
		return []finding{warningFinding("archive and delete earlier files, or raise COFFER_AUDIT_BUDGET", "it has nearly used up its budget: %s of %s", formatSize(bytes), formatSize(budget))}
	case budget > 0:
		return []finding{okFinding("%s of %s", formatSize(bytes), formatSize(budget))}
	}
	if free, err := durable.FreeSpace(c.Data); err == nil && bytes > free && c.Audit.Keep == 0 {
		return []finding{warningFinding("set COFFER_AUDIT_KEEP, or move earlier files away", "it has %s, more than is free, and earlier files are never deleted", formatSize(bytes))}
	}
	return []finding{okFinding("%s", formatSize(bytes))}
}

// directorySize returns the bytes of all files below a directory.
func directorySize(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was replaced in the meantime
		}
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}

func checkBackup(ctx context.Context, p *installation) []finding {
	return p.lastEvent(ctx, audit.BackupCreate, maxBackupAge, "backup", "coffer keys backup, and keep the file elsewhere")
}

func checkDrill(ctx context.Context, p *installation) []finding {
	return p.lastEvent(ctx, audit.BackupDrill, maxDrillAge, "drill", "coffer keys drill --in FILE proves that a backup opens")
}

// lastEvent checks in this host's audit log how long ago an action succeeded.
func (p *installation) lastEvent(ctx context.Context, action audit.Action, old time.Duration, name, do string) []finding {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	at, err := lastSuccess(ctx, p.config, action)
	switch {
	case err != nil:
		return []finding{warningFinding(do, "cannot find a %s in this host's audit log: %s", name, errorText(err))}
	case at.IsZero():
		return []finding{warningFinding(do, "this host's audit log has no %s that succeeded", name)}
	case p.now.Sub(at) > old:
		return []finding{warningFinding(do, "the last %s was at %s, %s ago", name, formatTime(at, ""), duration.Format(p.now.Sub(at).Truncate(duration.Day)))}
	}
	return []finding{okFinding("the last %s was at %s", name, formatTime(at, ""))}
}

// lastSuccess returns when an action last succeeded; the zero time if the log has no such event.
func lastSuccess(ctx context.Context, c *config.Config, action audit.Action) (last time.Time, err error) {
	const maxEvents = 100 // an action has several events, and may have failed
	filter := audit.Filter{Action: action.String()}
	err = audit.Tail(ctx, auditPath(c), maxEvents, &filter, false, func(l *audit.Line) error {
		if l.Outcome != "ok" || l.Facts[audit.FactPhase] == audit.PhaseBegin {
			return nil
		}
		at, err := time.Parse(time.RFC3339, l.Time)
		if at.After(last) {
			last = at
		}
		return err
	})
	return last, err
}

// newestLine returns the time of the last line of the audit log.
func newestLine(ctx context.Context, c *config.Config) (newest time.Time, err error) {
	err = audit.Tail(ctx, auditPath(c), 1, &audit.Filter{}, false, func(l *audit.Line) (err error) {
		newest, err = time.Parse(time.RFC3339, l.Time)
		return err
	})
	return newest, err
}
