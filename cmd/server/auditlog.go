package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/mirror"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kv/rediskv"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

var (
	// errAuditLogGone means that the data directory had an audit log and nothing of it is left.
	errAuditLogGone = &codes.Error{ErrorCode: "audit_unavailable", Message: "the audit log of this data directory is gone: restore the directory audit; " +
		"if it is lost or was moved away, `coffer audit begin` begins another log, which records that"}
	// errAuditKeyMissing means that the key that an audit log names is not in the system document.
	errAuditKeyMissing = &codes.Error{ErrorCode: "audit_unavailable", Message: "the audit log's key is missing: it is one of the environment's own keys " +
		"in the keystore. Restore them by coffer keys restore; if it is lost, move the log away, keep it, and begin another one by coffer audit begin"}
	// errSystemKeysMissing means that the keystore has keysets of tenants and no system document.
	errSystemKeysMissing = &codes.Error{ErrorCode: "keyring_unavailable", Message: "the environment's own keys are missing, but tenants have keysets: restore them by " +
		"coffer keys restore; if they are lost, run coffer audit begin in a data directory whose audit log you moved away"}
)

// openAudit opens the audit log and its key. It creates a log if there never was one, and returns errAuditLogGone if there was one.
func openAudit(ctx context.Context, c *config.Config, system *keyring.System, options audit.Options) (*audit.File, *audit.Key, error) {
	if gone, err := auditLogGone(c); err != nil || gone {
		return nil, nil, errors.Join(err, errAuditLogGone)
	}
	key, err := auditKey(ctx, auditPath(c), system)
	if err != nil {
		return nil, nil, err
	}
	file, err := audit.Open(auditPath(c), key, options)
	if err != nil {
		return nil, nil, err
	}
	if err = createMark(auditMarkPath(c), auditMark); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, key, nil
}

// auditKey returns the key that a log names, or the key for a new log.
func auditKey(ctx context.Context, path string, system *keyring.System) (*audit.Key, error) {
	id, used, err := audit.ReadKeyID(path)
	if err != nil {
		return nil, err
	}
	var key *secret.Key
	switch {
	case !used:
		key, err = system.Key(ctx, envelope.UseAudit)
	case system == nil:
		err = envelope.ErrUnknownKey
	default:
		key, err = system.KeyByID(ctx, envelope.UseAudit, id)
	}
	if errors.Is(err, envelope.ErrUnknownKey) {
		err = fmt.Errorf("%s: %w", path, errAuditKeyMissing)
	}
	if err != nil {
		return nil, err
	}
	return audit.NewKey(key), nil
}

// existingAuditKey returns the key of a log that must exist.
func existingAuditKey(ctx context.Context, path string, system *keyring.System) (*audit.Key, error) {
	used, err := audit.Exists(path)
	if err == nil && !used {
		err = notFoundError(fmt.Errorf("%s is not the directory of an audit log", path))
	}
	if err != nil {
		return nil, err
	}
	return auditKey(ctx, path, system)
}

func auditOptions(c *config.Config, log *slog.Logger) audit.Options {
	return audit.Options{
		PlainContext: c.Audit.Context, Sync: c.Audit.Sync, OnFailure: c.Audit.OnFailure, Log: log,
		MaxSize: c.Audit.MaxSize, MaxAge: c.Audit.MaxAge, Keep: c.Audit.Keep, Budget: c.Audit.Budget,
	}
}

// auditCopy writes the lines of the server's audit log to a second place.
type auditCopy struct {
	mirror *mirror.Mirror // nil if no copy is configured
	store  *rediskv.Store // has its own connections, so that requests keep theirs
}

func openAuditCopy(c *config.Config, out io.Writer, lost func(lines int), log *slog.Logger) (*auditCopy, error) {
	switch c.Audit.Copy {
	case config.CopyStdout:
		return &auditCopy{mirror: mirror.New(mirror.ToWriter(out), lost, log)}, nil
	case config.CopyRedis:
		store, err := c.Redis.Open()
		if err != nil {
			return nil, err
		}
		return &auditCopy{mirror: mirror.New(mirror.ToRedis(store), lost, log), store: store}, nil
	}
	return &auditCopy{}, nil
}

// copy returns the function that copies lines; nil if no copy is configured.
func (c *auditCopy) copy() func(lines []byte) {
	if c.mirror == nil {
		return nil
	}
	return c.mirror.Copy
}

func (c *auditCopy) close() error {
	if c.mirror != nil {
		c.mirror.Close()
	}
	if c.store != nil {
		return c.store.Close()
	}
	return nil
}
