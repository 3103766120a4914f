package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/codes"
	"github.com/coffer-storage/coffer/shared/envelope"
)

var (
	// errLogGone means that the data directory had an audit log and nothing of it is left.
	errLogGone = &codes.Error{Of: "audit_unavailable", Text: "the audit log of this data directory is gone: restore the directory audit; " +
		"if it is lost, or was put away on purpose, `coffer audit begin` begins another log, which records that"}
	// errLogKey means that the key that an audit log names is not in the system document.
	errLogKey = &codes.Error{Of: "audit_unavailable", Text: "the audit log's key is missing: it is with the environment's own keys " +
		"among the keysets. Restore them by coffer keys restore; if it is lost, move the log away, keep it, and begin another one by coffer audit begin"}
	// errSystem means that there are keysets of tenants without the system document.
	errSystem = &codes.Error{Of: "keyring_unavailable", Text: "the environment's own keys are missing beside the tenants' keysets: restore them by " +
		"coffer keys restore; if they are lost, run coffer audit begin in a data directory whose audit log you moved away"}
)

// auditPath is of the directory of the audit log.
func auditPath(c *config.Config) string { return filepath.Join(c.Data, "audit") }

// auditMarkPath is the path of the file that marks a data directory with an audit log.
func auditMarkPath(c *config.Config) string { return filepath.Join(c.Data, "log.made") }

const auditMark = "There is an audit log. While this file is here, no other one is begun in its place but by coffer audit begin.\n"

// openAudit opens the audit log with its key, and makes it if there never was one. It returns errLogGone if there was one.
func openAudit(ctx context.Context, c *config.Config, system *keyring.System, options audit.Options) (*audit.File, *audit.Key, error) {
	if gone, err := logGone(c); err != nil || gone {
		return nil, nil, errors.Join(err, errLogGone)
	}
	key, err := logKey(ctx, auditPath(c), system)
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
	left, err := audit.Exists(auditPath(c))
	return err == nil && !left, err
}

// logKey returns the key that a log names, or the one for a log that is to be begun.
func logKey(ctx context.Context, path string, system *keyring.System) (*audit.Key, error) {
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
		err = fmt.Errorf("%s: %w", path, errLogKey)
	}
	if err != nil {
		return nil, err
	}
	return audit.NewKey(key), nil
}

// system returns the environment's own keys. It makes them only in an empty keystore: otherwise the audit log, of this host or
// another one, is under earlier ones, and system returns errLogKey or errSystem.
func (k *keys) system(ctx context.Context, c *config.Config) (*keyring.System, error) {
	used, err := audit.Exists(auditPath(c))
	if err != nil {
		return nil, err
	}
	system, err := k.ring.FindSystem(ctx)
	if system == nil && err == nil {
		var held bool
		switch held, err = holdsKeys(ctx, k.store); {
		case err != nil:
		case used:
			err = fmt.Errorf("%s: %w", auditPath(c), errLogKey)
		case !held:
			system, err = k.ring.System(ctx)
		default: // another process may have made all of them since
			if system, err = k.ring.FindSystem(ctx); system == nil && err == nil {
				err = fmt.Errorf("%s: %w", k.where, errSystem)
			}
		}
	}
	return system, k.explain(err, c)
}

func auditOptions(c *config.Config, log *slog.Logger) audit.Options {
	return audit.Options{
		PlainContext: c.Audit.Context, Sync: c.Audit.Sync, OnFailure: c.Audit.OnFailure, Log: log,
		MaxSize: c.Audit.MaxSize, MaxAge: c.Audit.MaxAge, Keep: c.Audit.Keep, Budget: c.Audit.Budget,
	}
}

func auditBeginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "begin",
		Short: "Begin another audit log, after the one that there was is gone or was put away",
		Long: "Begins another audit log, under another key, in a data directory that had one of which nothing is left: servers do not start there, because nothing of the former\n" +
			"one can be proven any more. Its first line is the critical event audit.begun. Restore the former one instead if you can; heads of it that were kept elsewhere\n" +
			"prove copies of it. It does nothing if anything of a log is left.",
		Example: "  coffer audit begin --data DIR",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return beginAudit(cmd) },
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addJSON(cmd)
	return cmd
}

// requireLogGone refuses a data directory whose audit log is there, or never was.
func requireLogGone(c *config.Config) error {
	switch gone, err := logGone(c); {
	case err != nil:
		return err
	case !gone && there(auditMarkPath(c)):
		return refuse(errors.New("there is an audit log, or a part of one: move the directory audit away, and keep it"))
	case !gone:
		return refuse(errors.New("there was no audit log yet: servers begin one by themselves"))
	}
	return nil
}

// placeLog moves a log to a path where no directory is, or one without a log. It removes no log that another process has just begun.
func placeLog(made, path string) error {
	err := durable.RemoveTemporary(path)
	for _, empty := range []string{filepath.Join(path, "lock"), filepath.Join(path, durable.ReserveName), path} { // a directory is removed only if it is empty
		if e := os.Remove(empty); err == nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}
	if err == nil {
		err = durable.Rename(made, path)
	}
	return err
}

// beginAudit begins another log in a directory of its own, and moves it to its place once it has its first line. A kill
// before that leaves a log that is gone, and the command can be run again.
func beginAudit(cmd *cobra.Command) (err error) {
	c, err := loadData(cmd)
	if err != nil {
		return err
	}
	if err := requireKEK(&c); err != nil {
		return err
	}
	if err := requireLogGone(&c); err != nil {
		return err
	}
	log := commandLog(cmd)
	k, err := openKeys(cmd.Context(), &c, nil, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if _, err := k.ring.System(cmd.Context()); err != nil {
		return k.explain(err, &c)
	}
	key, made := secret.New(), auditPath(&c)+".new"
	defer key.Clear()
	err = k.ring.Edit(cmd.Context(), "", func(e *keyring.Edit) error { return e.AddKey(cmd.Context(), envelope.UseAudit, 0, key) })
	if err = errors.Join(err, os.RemoveAll(made)); err != nil {
		return err
	}
	file, err := audit.Open(made, audit.NewKey(key), auditOptions(&c, log))
	if err != nil {
		return err
	}
	err = file.Record(cmd.Context(), audit.Event{Action: audit.LogBegun, Operation: "audit begin"})
	if err = errors.Join(err, file.Close()); err == nil {
		err = requireLogGone(&c) // another process can have begun one in the meantime
	}
	if err == nil {
		err = placeLog(made, auditPath(&c))
	}
	if err != nil {
		return err
	}
	return show(cmd, struct {
		Begun bool `json:"begun"`
	}{true}, func(out io.Writer) error {
		_, err := fmt.Fprintln(out, "another audit log is begun: what was before it is unproven")
		return err
	})
}
