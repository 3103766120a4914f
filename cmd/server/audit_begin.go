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
		Short: "Begin another audit log, after the one that there was is gone or was put away",
		Long: "Begins another audit log, under another key, in a data directory that had one of which nothing is left: servers do not start there, because nothing of the former\n" +
			"one can be proven any more. Its first line is the critical event audit.begun. Restore the former one instead if you can; heads of it that were kept elsewhere\n" +
			"prove copies of it. It does nothing if anything of a log is left.",
		Example: "  coffer audit begin --data DIR",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return beginAudit(cmd) },
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addJSONFlag(cmd)
	return cmd
}

// beginAudit begins another log in a directory of its own, and moves it to its place once it has its first line. A kill
// before that leaves a log that is gone, and the command can be run again.
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
		err = requireAuditLogGone(&c) // another process can have begun one in the meantime
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
		_, err := fmt.Fprintln(out, "another audit log is begun: what was before it is unproven")
		return err
	})
}

// requireLogGone refuses a data directory whose audit log is there, or never was.
func requireAuditLogGone(c *config.Config) error {
	switch gone, err := auditLogGone(c); {
	case err != nil:
		return err
	case !gone && exists(auditMarkPath(c)):
		return refusedError(errors.New("there is an audit log, or a part of one: move the directory audit away, and keep it"))
	case !gone:
		return refusedError(errors.New("there was no audit log yet: servers begin one by themselves"))
	}
	return nil
}

// placeLog moves a log to a path where no directory is, or one without a log. It removes no log that another process has just begun.
func moveAuditLog(made, path string) error {
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
