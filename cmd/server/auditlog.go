package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/durable"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// errLogGone means that the data directory had an audit log and nothing of it is left.
var errLogGone = &codes.Error{Of: "audit_unavailable", Text: "the audit log of this data directory is gone: restore the directory audit and audit.key; " +
	"if they are lost, or were put away on purpose, `coffer audit begin` begins another log, which records that"}

// auditPath is of the directory of the audit log.
func auditPath(c *config.Config) string { return filepath.Join(c.Data, "audit") }

func auditKeyPath(c *config.Config) string { return filepath.Join(c.Data, "audit.key") }

// auditMarkPath is the path of the file that marks a data directory with an audit log.
func auditMarkPath(c *config.Config) string { return filepath.Join(c.Data, "log.made") }

const auditMark = "There is an audit log. While this file is here, no other one is begun in its place but by coffer audit begin.\n"

// openAudit opens the audit log with its key, and makes both if there never was one. It returns errLogGone if there
// was one.
func openAudit(ctx context.Context, c *config.Config, keks kms.Set, options audit.Options) (*audit.File, *audit.Key, error) {
	if gone, err := logGone(c); err != nil || gone {
		return nil, nil, errors.Join(err, errLogGone)
	}
	key, err := auditKey(ctx, c, keks)
	if err != nil {
		return nil, nil, err
	}
	file, err := audit.Open(auditPath(c), key, options)
	if err != nil {
		return nil, nil, err
	}
	if err = leaveMark(auditMarkPath(c), auditMark); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, key, nil
}

// logGone reports whether there was an audit log and nothing is left of it. If a part is left, package audit refuses
// the rest.
func logGone(c *config.Config) (bool, error) {
	if !there(auditMarkPath(c)) {
		return false, nil
	}
	left, err := audit.InUse(auditPath(c))
	return err == nil && !left, err
}

// auditKey opens the key of the audit log, which the general KEK wraps, and makes it if it does not exist.
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
		Short: "Begin another audit log, after the one that there was is gone together with its key",
		Long: "Begins another audit log, under another key, in a data directory that had one of which nothing is left: servers do not start there, because nothing of the former\n" +
			"one can be proven any more. Its first line is the critical event audit.begun. Restore the former one instead if you can; heads of it that were kept elsewhere\n" +
			"prove copies of it. It does nothing if anything of a log is left.",
		Example: "  coffer audit begin --data DIR",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return beginAudit(cmd) },
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	return cmd
}

// beginAudit begins another log in a directory of its own, and moves it to its place once it has its first line. A kill before that leaves a log that is gone, and the command can be run again.
func beginAudit(cmd *cobra.Command) error {
	c, err := loadData(cmd)
	if err != nil {
		return err
	}
	if err := requireKEK(&c); err != nil {
		return err
	}
	made := auditPath(&c) + ".new" // made before the key
	switch gone, err := logGone(&c); {
	case err != nil:
		return err
	case !gone && there(auditMarkPath(&c)) || gone && there(auditKeyPath(&c)) && !there(made):
		return errors.New("there is an audit log, or a part of one: move the directory audit and audit.key away together, and keep them")
	case !gone:
		return errors.New("there was no audit log yet: servers begin one by themselves")
	}
	log := commandLog(cmd)
	keks, err := openKEKs(cmd.Context(), &c, nil, log)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(made), os.Mkdir(made, 0o700)); err != nil {
		return err
	}
	key, err := auditKey(cmd.Context(), &c, keks)
	if err != nil {
		return err
	}
	file, err := audit.Open(made, key, auditOptions(&c, log))
	if err != nil {
		return err
	}
	err = file.Record(cmd.Context(), audit.Event{Action: audit.LogBegun, Operation: "audit begin"})
	if err = errors.Join(err, file.Close()); err == nil {
		err = errors.Join(os.RemoveAll(auditPath(&c)), durable.Rename(made, auditPath(&c))) // nothing but a lock is there
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "another audit log is begun: what was before it is unproven")
	return err
}
