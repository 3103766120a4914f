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

func examineAudit(_ context.Context, p *patient) []finding {
	c := p.config
	if gone, err := logGone(c); err != nil || gone {
		return []finding{failing("", "%s", message(errors.Join(err, errLogGone)))}
	}
	if !there(auditPath(c)) {
		return []finding{ok("there is none yet")}
	}
	bytes, err := directorySize(auditPath(c))
	if err != nil {
		return []finding{failing("", "%s", message(err))}
	}
	switch budget := c.Audit.Budget; {
	case budget > 0 && bytes >= budget:
		return []finding{failing("archive and delete earlier files, or raise COFFER_AUDIT_BUDGET", "it has used up its budget, and no key is used: %s of %s", size(bytes), size(budget))}
	case budget > 0 && bytes > budget/10*8:
		return []finding{warning("archive and delete earlier files, or raise COFFER_AUDIT_BUDGET", "it has nearly used up its budget: %s of %s", size(bytes), size(budget))}
	case budget > 0:
		return []finding{ok("%s of %s", size(bytes), size(budget))}
	}
	if free, err := durable.FreeSpace(c.Data); err == nil && bytes > free && c.Audit.Keep == 0 {
		return []finding{warning("set COFFER_AUDIT_KEEP, or move earlier files away", "it has %s, more than is free, and earlier files are never deleted", size(bytes))}
	}
	return []finding{ok("%s", size(bytes))}
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

func examineBackup(ctx context.Context, p *patient) []finding {
	return p.lastEvent(ctx, audit.BackupCreate, oldBackup, "backup", "coffer keys backup, and keep the file elsewhere")
}

func examineDrill(ctx context.Context, p *patient) []finding {
	return p.lastEvent(ctx, audit.BackupDrill, oldDrill, "drill", "coffer keys drill --in FILE proves that a backup opens")
}

// lastEvent judges how long ago an action last succeeded, by this host's audit log.
func (p *patient) lastEvent(ctx context.Context, action audit.Action, old time.Duration, name, do string) []finding {
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	at, err := lastSuccess(ctx, p.config, action)
	switch {
	case err != nil:
		return []finding{warning(do, "this host's audit log does not tell of a %s: %s", name, message(err))}
	case at.IsZero():
		return []finding{warning(do, "this host's audit log has no %s that succeeded", name)}
	case p.now.Sub(at) > old:
		return []finding{warning(do, "the last %s was at %s, %s ago", name, shown(at, ""), duration.Format(p.now.Sub(at).Truncate(duration.Day)))}
	}
	return []finding{ok("the last %s was at %s", name, shown(at, ""))}
}

// lastSuccess returns when an action last succeeded; the zero time if the log has no such event.
func lastSuccess(ctx context.Context, c *config.Config, action audit.Action) (last time.Time, err error) {
	const looked = 100 // of the last events: others are beginnings, and what failed
	filter := audit.Filter{Action: action.String()}
	err = audit.Tail(ctx, auditPath(c), looked, &filter, false, func(l *audit.Line) error {
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
