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
		Short: "Destroy a tenant's keys for ever, and with them its data",
		Long: "Destroys the roots and keys of a tenant, so that nothing that was sealed under them opens again. It shows what will be lost, and asks for the\n" +
			"tenant's id once more. It returns when every server has had the time to see it: from then on all of them answer key_destroyed (410).\n" +
			"There is no way back, and the tenant's id cannot be used again.\n\n" +
			"What survives: files that carry their own key, copies in the clear, public values wherever they were stored, what a session still holds in a\n" +
			"client, and backups of the keys that were made before. Those honour the shredding when they are restored where its tombstone or the\n" +
			"audit log is; elsewhere, tell coffer keys restore by --shredded.",
		Example: "  coffer keys shred --data DIR --tenant clinic-7 --reason policy",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return usageError(errors.New("--tenant takes the id of a tenant"))
			}
			return withOperator(cmd, "", func(ctx context.Context, o *operator, r *recovery.Recovery) error {
				return shred(ctx, cmd, o, r, tenant, confirm)
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose keys")
	addReasonFlag(cmd)
	addJSONFlag(cmd)
	cmd.Flags().StringVar(&confirm, "confirm", "", "the tenant's id once more, instead of being asked for it")
	return cmd
}

func shred(ctx context.Context, cmd *cobra.Command, o *operator, r *recovery.Recovery, tenant, confirm string) error {
	out := cmd.OutOrStdout()
	if wantsJSON(cmd) {
		out = cmd.ErrOrStderr() // standard output is for the result
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
		DeletedEntries *int   `json:"deletedEntries"` // of the cache, with sessions; null if they are in a server's own store
	}{tenant, o.config.Environment, true, deleted}, func(out io.Writer) error {
		fmt.Fprintln(out, "shredded: every server that reaches the store of keysets refuses its data now")
		if deleted == nil {
			_, err := fmt.Fprintln(out, "its cache entries stay, unreadable, until their time is over")
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
	fmt.Fprintln(out, "what survives: files that carry their own key, copies in the clear, what clients have read; earlier backups of the keys where the audit log is not")
	return nil
}

// lastUse is when the audit log last tells of a use of the tenant's keys; the zero time where it does not.
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

// entries is the store of the cache and the sessions, where this process can reach it: an embedded one is a
// running server's alone.
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

// each calls do with the tenant's keys, by the page.
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
		return "not known, they are in a server's own store"
	}
	n := 0
	if e.each(ctx, tenant, func(keys []string) error { n += len(keys); return nil }) != nil {
		return "not known, Redis cannot be reached"
	}
	return strconv.Itoa(n)
}

// delete removes what nothing opens any more, and returns how many entries that were; nil if they cannot be reached.
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
		_ = e.store.Close() // it was read and deleted from; nothing waits
	}
}
