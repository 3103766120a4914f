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
// where there was.
func openAudit(ctx context.Context, c *config.Config, keks kms.Set, options audit.Options) (*audit.File, *audit.Key, error) {
	if err := requireAudit(c); err != nil {
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
	if err := leaveMark(auditMarkPath(c), auditMark); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, key, nil
}

// requireAudit returns errLogGone where there was an audit log and nothing is left of it. What is left in
// part is for audit to refuse.
func requireAudit(c *config.Config) error {
	if !there(auditMarkPath(c)) || there(auditKeyPath(c)) {
		return nil
	}
	left, err := audit.InUse(auditPath(c))
	if err == nil && !left {
		err = errLogGone
	}
	return err
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

func beginAudit(cmd *cobra.Command) (err error) {
	c, err := loadData(cmd)
	if err != nil {
		return err
	}
	if err := requireKEK(&c); err != nil {
		return err
	}
	switch err := requireAudit(&c); {
	case err == nil && there(auditMarkPath(&c)):
		return errors.New("there is an audit log, or a part of one: move audit.key, audit.head, audit.log and audit-*.log away together, and keep them")
	case err == nil:
		return errors.New("there was no audit log yet: servers begin one by themselves")
	case !errors.Is(err, errLogGone):
		return err
	}
	log := commandLog(cmd)
	keks, err := openKEKs(cmd.Context(), &c, nil, log)
	if err != nil {
		return err
	}
	key, err := auditKey(cmd.Context(), &c, keks)
	if err != nil {
		return err
	}
	file, err := audit.Open(auditPath(&c), key, auditOptions(&c, log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Record(cmd.Context(), audit.Event{Action: audit.LogBegun, Operation: "audit begin"}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "another audit log is begun: what was before it is unproven")
	return err
}
