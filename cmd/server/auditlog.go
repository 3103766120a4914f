package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// errLogGone says that there was an audit log and nothing is left of it, so that no part of it can be proven.
var errLogGone = &codes.Error{Of: "audit_unavailable", Text: "the audit log of this data directory is gone, and so is its key: restore audit.key, audit.head, audit.log and audit-*.log; " +
	"where they are lost, or were put away on purpose, `coffer audit begin` begins another one, which tells of that"}

func auditPath(c *config.Config) string { return filepath.Join(c.Data, "audit.log") }

func auditKeyPath(c *config.Config) string { return filepath.Join(c.Data, "audit.key") }

// auditMarkPath is of the file that says that this data directory has an audit log.
func auditMarkPath(c *config.Config) string { return filepath.Join(c.Data, "log.made") }

const auditMark = "There is an audit log. While this file is here, no other one is begun in its place but by coffer audit begin.\n"

// openAudit opens the audit log with its key, and makes both where there never was one. It returns errLogGone
// where there was. A log that takes the place of one tells of that in its first line, whoever comes to write it:
// who began it may have been killed.
func openAudit(ctx context.Context, c *config.Config, keks kms.Set, options audit.Options) (*audit.File, *audit.Key, error) {
	gone, err := requireAudit(c)
	if err != nil {
		return nil, nil, err
	}
	key, err := auditKey(ctx, c, keks)
	if err != nil {
		return nil, nil, err
	}
	file, err := audit.Open(auditPath(c), key, options)
	if err != nil {
		return nil, nil, err
	}
	if gone {
		err = file.Record(ctx, audit.Event{Action: audit.LogBegun, Operation: "audit begin"})
	}
	if err == nil {
		err = leaveMark(auditMarkPath(c), auditMark)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, key, nil
}

// requireAudit returns errLogGone where there was an audit log and nothing is left of it; or, where coffer
// audit begin made a key, that it is gone.
func requireAudit(c *config.Config) (gone bool, err error) {
	gone, err = logGone(c)
	if err == nil && gone && !there(auditKeyPath(c)) {
		err = errLogGone
	}
	return gone, err
}

// logGone reports whether there was an audit log and nothing is left of it, be it with a key, which coffer
// audit begin makes first. What is left in part is for audit to refuse.
func logGone(c *config.Config) (bool, error) {
	if !there(auditMarkPath(c)) {
		return false, nil
	}
	left, err := audit.InUse(auditPath(c))
	return err == nil && !left, err
}

// auditKey opens the key of the audit log, which the general KEK wraps, and makes it where there is none.
func auditKey(ctx context.Context, c *config.Config, keks kms.Set) (*audit.Key, error) {
	key, err := audit.OpenKey(ctx, auditKeyPath(c), auditKEK{keks.All()[0], c.Environment})
	if errors.Is(err, envelope.ErrAuthentication) {
		err = fmt.Errorf("%s: COFFER_ENVIRONMENT is not the label that it was made with, or it was altered: %w", auditKeyPath(c), err)
	}
	return key, err
}

func auditOptions(c *config.Config, log *slog.Logger) audit.Options {
	return audit.Options{
		Allow: c.Audit.Context, Sync: c.Audit.Sync, OnFailure: c.Audit.OnFailure, Log: log,
		MaxSize: c.Audit.MaxSize, MaxAge: c.Audit.MaxAge, Keep: c.Audit.Keep,
	}
}

func auditBeginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "begin",
		Short: "Begin another audit log, where the one that there was is gone together with its key",
		Long: "Begins another audit log, under another key, in a data directory that had one of which nothing is left: servers do not start there, since nothing of the former\n" +
			"one can be proven any more. Its first line is the critical event audit.begun. Restore the former one instead if you can; heads of it that were kept elsewhere\n" +
			"prove copies of it. It does nothing where anything of a log is left.",
		Example: "  coffer audit begin --data DIR",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return beginAudit(cmd) },
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	return cmd
}

func beginAudit(cmd *cobra.Command) error {
	c, err := loadData(cmd)
	if err != nil {
		return err
	}
	if err := requireKEK(&c); err != nil {
		return err
	}
	switch gone, err := logGone(&c); {
	case err != nil:
		return err
	case !gone && there(auditMarkPath(&c)):
		return errors.New("there is an audit log, or a part of one: move audit.key, audit.head, audit.log and audit-*.log away together, and keep them")
	case !gone:
		return errors.New("there was no audit log yet: servers begin one by themselves")
	}
	log := commandLog(cmd)
	keks, err := openKEKs(cmd.Context(), &c, nil, log)
	if err != nil {
		return err
	}
	if _, err := auditKey(cmd.Context(), &c, keks); err != nil {
		return err
	}
	file, _, err := openAudit(cmd.Context(), &c, keks, auditOptions(&c, log))
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "another audit log is begun: what was before it is unproven")
	return err
}
