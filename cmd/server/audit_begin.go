package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/shared/envelope"
)

func auditBeginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "begin",
		Short: "Begin another audit log after the former one was lost or moved away",
		Long: "Begins another audit log under another key, in a data directory whose audit log is completely gone. Servers do not start there until then,\n" +
			"because the former log cannot be verified any more. The first line of the new log is the critical event audit.begun. Restore the former log\n" +
			"instead if you can; heads that were stored elsewhere prove a copy of it. The command does nothing if any part of a log is left.",
		Example: "  coffer audit begin --data DIR",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return beginAudit(cmd) },
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addJSONFlag(cmd)
	return cmd
}

// beginAudit creates a log in a temporary directory, and moves it to its path when it has its first line. If the process is killed before
// that, the command can be run again.
func beginAudit(cmd *cobra.Command) (err error) {
	c, err := loadData(cmd)
	if err != nil {
		return err
	}
	if err := requireLocalKey(&c); err != nil {
		return err
	}
	if err := requireAuditLogGone(&c); err != nil {
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
		err = requireAuditLogGone(&c) // another process may have begun one in the meantime
	}
	if err == nil {
		err = moveAuditLog(made, auditPath(&c))
	}
	if err != nil {
		return err
	}
	return printResult(cmd, struct {
		Begun bool `json:"begun"`
	}{true}, func(out io.Writer) error {
		_, err := fmt.Fprintln(out, "another audit log was begun: earlier events cannot be verified")
		return err
	})
}

// requireAuditLogGone returns an error if the data directory has an audit log, or never had one.
func requireAuditLogGone(c *config.Config) error {
	switch gone, err := auditLogGone(c); {
	case err != nil:
		return err
	case !gone && exists(auditMarkPath(c)):
		return refusedError(errors.New("there is an audit log, or a part of one: move the directory audit away, and keep it"))
	case !gone:
		return refusedError(errors.New("there was no audit log yet: a server begins one when it starts"))
	}
	return nil
}

// moveAuditLog moves a log to a path with no directory, or with a directory that has no log. It removes no log that another process began in
// the meantime.
func moveAuditLog(made, path string) error {
	err := durable.RemoveTemporary(path)
	for _, empty := range []string{filepath.Join(path, "lock"), filepath.Join(path, durable.ReserveName), path} { // os.Remove removes a directory only if it is empty
		if e := os.Remove(empty); err == nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}
	if err == nil {
		err = durable.Rename(made, path)
	}
	return err
}
