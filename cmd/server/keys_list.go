package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
)

func keysListCommand() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tenants' keys: their states, their ages, and when the next rotation is due",
		Long: "Lists the keys of all tenants, or of one tenant: for each use and class the primary, which seals, and then the others, the youngest first.\n" +
			"An enabled key opens. A disabled key does not open, but keeps its material. A compromised key opens and never seals again. Only the id is\n" +
			"left of a destroyed key. The command never shows key material, wrapped or not. --json prints whole key ids, as GET /v1/keys does.",
		Example: "  coffer keys list --data DIR --tenant clinic-7",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withOperator(cmd, "", func(ctx context.Context, o *operator, _ *recovery.Recovery) error {
				keysets, err := o.keysets(ctx, tenant)
				if err != nil && keysets == nil {
					return err
				}
				return errors.Join(printResult(cmd, keysets, func(out io.Writer) error { return printKeysets(out, keysets, time.Now()) }), err)
			})
		},
	}
	config.AddFlags(cmd.Flags(), append(keyFlags, "key-rotation-days")...)
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant's keys")
	addJSONFlag(cmd)
	return cmd
}

// keysets returns the keysets of one tenant, or of all tenants if the id is empty. If some of these cannot be read, it returns the others and
// an error that names the unreadable ones.
func (o *operator) keysets(ctx context.Context, tenant string) ([]lifecycle.Keyset, error) {
	rotator := newRotator(o.config, o.keys, nil, o.audit, nil)
	if tenant != "" {
		d, err := o.keys.ring.Document(ctx, tenant)
		if err != nil {
			return nil, fmt.Errorf("tenant %s: %w", strconv.Quote(tenant), err)
		}
		return lifecycle.Describe(d, rotator), nil
	}
	all := []lifecycle.Keyset{}
	documents, left := recovery.SkipUnreadable(o.keys.ring.Documents(ctx))
	for d := range documents {
		all = append(all, lifecycle.Describe(d, rotator)...)
	}
	err := left()
	if err != nil && !errors.As(err, new(*recovery.SkippedError)) {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b lifecycle.Keyset) int { return cmp.Compare(a.Tenant, b.Tenant) })
	return all, exitWith(exitFailed, err)
}

func printKeysets(out io.Writer, keysets []lifecycle.Keyset, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TENANT\tUSE\tCLASS\tKEY\tSTATE\tAGE\tNEXT ROTATION")
	for _, s := range keysets {
		for _, k := range s.Keys {
			state, next := k.State, "-"
			if k.ID == s.Primary {
				state += ", primary"
				if s.NextRotationAt != nil {
					next = formatTime(s.NextRotationAt.Time, "")
				}
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%dd\t%s\n",
				strconv.Quote(s.Tenant), s.Use, s.Class, k.ID[:shortID], state, now.Sub(k.CreatedAt.Time)/(24*time.Hour), next)
		}
	}
	return table.Flush()
}

// shortID is the number of digits of a key id in tables, and the smallest number in --key.
const shortID = 16
