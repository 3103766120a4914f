package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/lifecycle"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
	"github.com/coffer-storage/coffer/shared/format"
)

// keyRetirement is the flags of one run of coffer keys disable or destroy.
type keyRetirement struct {
	to                               envelope.State
	tenant, use, class, key, confirm string
}

// retirementRules is the part of the help that both commands share.
const retirementRules = "A key that is still needed is refused, with the reason: it is the primary, a rotation in progress may roll back to it, or a server without\n" +
	"access to the keystore may still seal under it, until COFFER_KEY_CACHE_TTL after the last rotation. Keys of the cache are refused, because\n" +
	"rotations destroy them. No command can find packages, files and database fields that a key sealed, so you must confirm the tenant's id.\n"

func keysDisableCommand() *cobra.Command {
	r := &keyRetirement{to: envelope.Disabled}
	return r.command("disable", "Disable a key, so that it opens nothing",
		"Disables a former key. Data that it sealed is refused with key_unusable from then on. The key keeps its material, but cannot be enabled again.\n"+
			"Wait to see whether anything fails, then destroy it.\n\n"+retirementRules)
}

func keysDestroyCommand() *cobra.Command {
	r := &keyRetirement{to: envelope.Destroyed}
	return r.command("destroy", "Destroy a disabled or compromised key permanently",
		"Destroys the material of a former key. Data that it sealed is refused with key_destroyed from then on. This cannot be undone. Only an earlier\n"+
			"backup brings the key back, and only if both the keystore and the audit log are lost.\n\n"+retirementRules+
			"Disable an enabled key first. A compromised key can be destroyed at once.")
}

func (r *keyRetirement) command(use, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSuffix(long, "\n"), Args: noArguments,
		Example: "  coffer keys list --data DIR --tenant clinic-7\n" +
			"  coffer keys " + use + " --data DIR --tenant clinic-7 --use service --class phi --key 9b2c61d04be7a35f --reason policy",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withOperator(cmd, "", func(ctx context.Context, o *operator, _ *recovery.Recovery) error { return r.run(ctx, cmd, o) })
		},
	}
	config.AddFlags(cmd.Flags(), append(keyFlags, "key-cache-ttl")...)
	f := cmd.Flags()
	f.StringVar(&r.tenant, "tenant", "", "tenant of the key")
	f.StringVar(&r.use, "use", "", "the key's use: service, field or file")
	f.StringVar(&r.class, "class", "", "the key's class")
	f.StringVar(&r.key, "key", "", "the key's id, or at least its first 16 digits")
	addReasonFlag(cmd)
	addJSONFlag(cmd)
	f.StringVar(&r.confirm, "confirm", "", "the tenant's id, as the confirmation")
	for _, name := range []string{"tenant", "use", "class", "key"} {
		_ = cmd.MarkFlagRequired(name) // the flag exists
	}
	return cmd
}

func (r *keyRetirement) run(ctx context.Context, cmd *cobra.Command, o *operator) error {
	key, err := r.find(ctx, o)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", strconv.Quote(r.tenant), err)
	}
	keys := lifecycle.New(lifecycle.Options{
		Rotator: newRotator(o.config, o.keys, nil, o.audit, nil), Audit: o.audit, Operation: operationName(cmd), Reason: o.reason,
	})
	retirement, err := keys.Prepare(ctx, key, r.to)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if wantsJSON(cmd) {
		out = cmd.ErrOrStderr() // standard output is for the JSON
	}
	printRetirement(out, o, retirement)
	if retirement.Done() {
		return errors.Join(retirement.Apply(ctx), r.report(cmd, o, retirement)) // Apply records the event again
	}
	question := "This cannot be undone. The key will be " + r.to.String() + ". Type the tenant's id to confirm: "
	if err := confirmTenant(cmd, r.confirm, r.tenant, question); err != nil {
		return err
	}
	if err := retirement.Apply(ctx); err != nil {
		return err
	}
	recovery.WaitForPropagation(ctx)
	if wantsJSON(cmd) {
		return r.report(cmd, o, retirement)
	}
	_, err = fmt.Fprintf(out, "%s: every server that reaches the keystore now refuses the data that it sealed\n", r.to)
	return err
}

// report prints the key if --json is given.
func (r *keyRetirement) report(cmd *cobra.Command, o *operator, retirement *lifecycle.Retirement) error {
	if !wantsJSON(cmd) {
		return nil
	}
	k := &retirement.Key
	return printJSON(cmd.OutOrStdout(), struct {
		Tenant      string    `json:"tenant"`
		Environment string    `json:"environment"`
		Key         string    `json:"key"`
		Use         string    `json:"use"`
		Class       string    `json:"class"`
		MadeAt      time.Time `json:"madeAt"`
		State       string    `json:"state"`
	}{k.Tenant, o.config.Environment, hex.EncodeToString(k.ID[:]), k.Use.String(), k.Class.String(), retirement.Created.UTC(), r.to.String()})
}

// find returns the key that the flags name.
func (r *keyRetirement) find(ctx context.Context, o *operator) (key lifecycle.Key, err error) {
	use, err := format.ParseUse(r.use)
	if err != nil {
		return key, usageError(errors.New("--use must be cache, service, field or file"))
	}
	class, err := classify.Parse(r.class)
	if err != nil {
		return key, usageError(fmt.Errorf("--class: %w", err))
	}
	d, err := o.keys.ring.Document(ctx, r.tenant)
	if err != nil {
		return key, err
	}
	found := 0
	if s := d.Keyset(use, class); s != nil && len(r.key) >= shortID {
		for i := range s.Keys {
			if strings.HasPrefix(hex.EncodeToString(s.Keys[i].ID[:]), strings.ToLower(r.key)) {
				key, found = lifecycle.Key{Tenant: r.tenant, Use: use, Class: class, ID: s.Keys[i].ID}, found+1
			}
		}
	}
	switch {
	case len(r.key) < shortID:
		return key, usageError(fmt.Errorf("--key must be a key's id, or at least %d of its first digits", shortID))
	case found > 1:
		return key, usageError(errors.New("--key: several keys begin with these digits"))
	case found == 0:
		return key, lifecycle.ErrNoKey
	}
	return key, nil
}

func printRetirement(out io.Writer, o *operator, retirement *lifecycle.Retirement) {
	k := &retirement.Key
	fmt.Fprintf(out, "tenant %s of environment %s\n", strconv.Quote(k.Tenant), strconv.Quote(o.config.Environment))
	fmt.Fprintf(out, "key: %x\nuse and class: %s, %s\nmade: %s\nstate: %s\n", k.ID, k.Use, k.Class, formatTime(retirement.Created, ""), retirement.From)
	if retirement.Done() {
		fmt.Fprintf(out, "the key is %s already\n", retirement.To)
		return
	}
	fmt.Fprintln(out, retirement.Warning())
}
