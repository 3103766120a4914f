package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kv"
)

func keysShredCommand() *cobra.Command {
	var tenant, confirm string
	cmd := &cobra.Command{
		Use:   "shred",
		Short: "Destroy a tenant's keys, and so its data, permanently",
		Long: "Destroys the roots and keys of a tenant, so that nothing that they sealed opens again. The command shows which keys will be lost, and asks for the\n" +
			"tenant's id as the confirmation. It returns when every server has had time to see the change; all servers then answer key_destroyed (410).\n" +
			"This cannot be undone, and the tenant's id cannot be used again.\n\n" +
			"These survive: files that have their own key, copies in the clear, public values, session data in clients, and earlier backups of the keys.\n" +
			"Such a backup does not restore the tenant if the keystore has its tombstone or the audit log is there; otherwise name the tenant to\n" +
			"coffer keys restore with --shredded.",
		Example: "  coffer keys shred --data DIR --tenant clinic-7 --reason policy",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return usageError(errors.New("--tenant is required: the id of the tenant to shred"))
			}
			return withOperator(cmd, "", func(ctx context.Context, o *operator, r *recovery.Recovery) error {
				return shred(ctx, cmd, o, r, tenant, confirm)
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringVar(&tenant, "tenant", "", "the tenant")
	addReasonFlag(cmd)
	addJSONFlag(cmd)
	cmd.Flags().StringVar(&confirm, "confirm", "", "the tenant's id, as the confirmation")
	return cmd
}

func shred(ctx context.Context, cmd *cobra.Command, o *operator, r *recovery.Recovery, tenant, confirm string) error {
	out := cmd.OutOrStdout()
	if wantsJSON(cmd) {
		out = cmd.ErrOrStderr() // standard output is for the JSON
	}
	d, err := r.Keyring.Document(ctx, tenant)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", strconv.Quote(tenant), err)
	}
	if d.Shredded() {
		fmt.Fprintln(out, "the tenant is shredded already")
	}
	entries := o.entries()
	defer entries.close()
	if err := printLoss(ctx, out, o, entries, tenant, recovery.PreviewShred(d)); err != nil {
		return err
	}
	if err := confirmTenant(cmd, confirm, tenant, "This cannot be undone. Type the tenant's id to shred it: "); err != nil {
		return err
	}
	if err := r.Shred(ctx, tenant); err != nil {
		return err
	}
	recovery.WaitForPropagation(ctx)
	deleted, err := entries.delete(ctx, tenant)
	return errors.Join(err, printResult(cmd, struct {
		Tenant         string `json:"tenant"`
		Environment    string `json:"environment"`
		Shredded       bool   `json:"shredded"`
		DeletedEntries *int   `json:"deletedEntries"` // of the cache and of sessions; null if they are in the embedded store of a server
	}{tenant, o.config.Environment, true, deleted}, func(out io.Writer) error {
		fmt.Fprintln(out, "shredded: every server that reaches the keystore now refuses its data")
		if deleted == nil {
			_, err := fmt.Fprintln(out, "its cache entries stay, unreadable, until they expire")
			return err
		}
		_, err := fmt.Fprintf(out, "cache entries and sessions deleted: %d\n", *deleted)
		return err
	}))
}

func printLoss(ctx context.Context, out io.Writer, o *operator, entries *tenantEntries, tenant string, loss []recovery.LostKeys) error {
	fmt.Fprintf(out, "tenant %s of environment %s\n", strconv.Quote(tenant), strconv.Quote(o.config.Environment))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "USE\tCLASS\tKEYS\tOLDEST\tNEWEST")
	for _, k := range loss {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", k.Use, k.Class, k.Keys, formatTime(k.Oldest, ""), formatTime(k.Newest, ""))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "cache entries and sessions: %s\n", entries.count(ctx, tenant))
	at, err := lastUse(ctx, o, tenant)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "last use in this audit log: %s\n", formatTime(at, "none"))
	fmt.Fprintln(out, "these survive: files that have their own key, copies in the clear, data that clients have read, and earlier backups of the keys without the audit log")
	return nil
}

// lastUse returns the time of the last use of the tenant's keys in the audit log; the zero time if the log has no use.
func lastUse(ctx context.Context, o *operator, tenant string) (last time.Time, err error) {
	for _, action := range []audit.Action{audit.KeySeal, audit.KeyOpen} {
		filter := audit.Filter{Tenant: tenant, Action: action.String()}
		err = errors.Join(err, audit.Tail(ctx, auditPath(o.config), 1, &filter, false, func(l *audit.Line) error {
			at, err := time.Parse(time.RFC3339, l.Time)
			if at.After(last) {
				last = at
			}
			return err
		}))
	}
	return last, err
}

// tenantEntries is the store of the cache and the sessions. The store is nil if it is embedded, because a running server has it open.
type tenantEntries struct{ store kv.Store }

func (o *operator) entries() *tenantEntries {
	if !o.config.Redis.Configured() {
		return &tenantEntries{}
	}
	store, err := o.config.Redis.Open()
	if err != nil {
		return &tenantEntries{}
	}
	return &tenantEntries{store}
}

// each calls do with each page of the tenant's keys.
func (e *tenantEntries) each(ctx context.Context, tenant string, do func(keys []string) error) error {
	prefix := kv.OwnerPrefix(tenant)
	for cursor := ""; ; {
		keys, next, err := e.store.Scan(ctx, prefix, cursor, 0)
		if err == nil && len(keys) > 0 {
			err = do(keys)
		}
		if err != nil || next == "" {
			return err
		}
		cursor = next
	}
}

func (e *tenantEntries) count(ctx context.Context, tenant string) string {
	if e.store == nil {
		return "unknown, because they are in the embedded store of a server"
	}
	n := 0
	if e.each(ctx, tenant, func(keys []string) error { n += len(keys); return nil }) != nil {
		return "unknown, because Redis cannot be reached"
	}
	return strconv.Itoa(n)
}

// delete removes the tenant's entries and returns their number; nil if the store is embedded.
func (e *tenantEntries) delete(ctx context.Context, tenant string) (*int, error) {
	if e.store == nil {
		return nil, nil
	}
	n := 0
	err := e.each(ctx, tenant, func(keys []string) error {
		existed, err := kv.DeleteMany(ctx, e.store, keys)
		n += kv.CountTrue(existed)
		return err
	})
	return &n, err
}

func (e *tenantEntries) close() {
	if e.store != nil {
		_ = e.store.Close() // nothing waits to be written
	}
}
