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
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kms"
)

func keysCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "keys",
		GroupID: groupAdmin,
		Short:   "Manage tenants' keys: list, disable and destroy them, move them to another KMS, back them up, restore them, shred a tenant",
		Long: "Works on the keysets of all tenants, with the configuration of the server: the same environment variables and --data.\n" +
			"Servers may run meanwhile. Everything is recorded in the audit log of the data directory.",
	}
	group.AddCommand(keysListCommand(), keysDisableCommand(), keysDestroyCommand(), keysRewrapCommand(), keysShredCommand(), keysBackupCommand(), keysRestoreCommand(), keysDrillCommand())
	return group
}

// keyFlags are the settings of the commands that open keys.
var keyFlags = []string{"data", "environment"}

// operator is what a command that works on keys has: the keyring, and the server's audit log.
type operator struct {
	config *config.Config
	keys   *keys
	audit  *audit.File
	reason audit.Reason // of the flag
	log    *slog.Logger
}

// openOperator opens what the server has open. It makes no master key, which would open nothing that is
// there, and refuses to work on no keys where there are some, or once were.
func openOperator(cmd *cobra.Command) (*operator, error) {
	o, err := openOperatorKeys(cmd)
	if err != nil {
		return nil, err
	}
	if err = o.keys.requireKeysets(cmd.Context(), o.config); err == nil {
		err = o.openLog(cmd.Context())
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// openOperatorKeys opens all but the audit log.
func openOperatorKeys(cmd *cobra.Command) (o *operator, err error) {
	c, err := loadData(cmd)
	if err != nil {
		return nil, err
	}
	o = &operator{config: &c, log: commandLog(cmd)}
	if o.reason, err = reasonOf(cmd); err != nil {
		return nil, err
	}
	if err := requireKEK(&c); err != nil {
		return nil, err
	}
	former, err := formerKEKs(cmd, &c)
	if err != nil {
		return nil, err
	}
	o.keys, err = openKeys(cmd.Context(), &c, nil, o.log, former...)
	return o, err
}

// openLog opens the audit log, and the environment's own keys if they are not open.
func (o *operator) openLog(ctx context.Context) (err error) {
	if o.keys.own == nil {
		if o.keys.own, err = o.keys.system(ctx, o.config); err != nil {
			return err
		}
	}
	o.audit, _, err = openAudit(ctx, o.config, o.keys.own, auditOptions(o.config, o.log))
	return err
}

// requireKEK refuses to go on where a master key would be made.
func requireKEK(c *config.Config) error {
	master := filepath.Join(c.Data, "master.key")
	if _, err := os.Stat(master); c.KMS.KEK == "" && !c.MasterKey.Configured() && errors.Is(err, fs.ErrNotExist) {
		return usage(fmt.Errorf("no master key is configured, and there is none in %s: set ENCRYPTION_MASTER_KEY or KMS_PROVIDER", master))
	}
	return nil
}

func (o *operator) close() error {
	err := o.keys.close()
	if o.audit != nil {
		err = errors.Join(err, o.audit.Close())
	}
	return err
}

// recovery is what works on all keysets, with a bar that says what it does.
func (o *operator) recovery(cmd *cobra.Command, what string) *recovery.Recovery {
	return &recovery.Recovery{
		Keyring: o.keys.ring, Store: o.keys.store, KEKs: o.keys.keks, Environment: o.config.Environment, Audit: o.audit,
		Operation: operation(cmd), Reason: o.reason, Progress: progress(cmd.ErrOrStderr(), what),
	}
}

// operate runs something with the keys open.
func operate(cmd *cobra.Command, what string, do func(ctx context.Context, o *operator, r *recovery.Recovery) error) (err error) {
	o, err := openOperator(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	return do(cmd.Context(), o, o.recovery(cmd, what))
}

// addFormer adds the flag for KEKs that keysets may still be under.
func addFormer(cmd *cobra.Command) {
	cmd.Flags().StringArray("former-kek", nil, "URL of a KEK that keysets, or the backup, may still be under, besides the configured one; given again for each")
}

// formerKEKs opens the KEKs of the flag, of a command that has it.
func formerKEKs(cmd *cobra.Command, c *config.Config) (keks []kms.KEK, err error) {
	if cmd.Flags().Lookup("former-kek") == nil {
		return nil, nil
	}
	urls, err := cmd.Flags().GetStringArray("former-kek")
	for _, url := range urls {
		kek, err := openNamedKEK(cmd.Context(), c, "--former-kek", url)
		if err != nil {
			return nil, err
		}
		keks = append(keks, kek)
	}
	return keks, err
}

// openNamedKEK opens a KEK that a flag of the command line names. It quotes no URL: one may be a key.
func openNamedKEK(ctx context.Context, c *config.Config, flag, url string) (kms.KEK, error) {
	if strings.HasPrefix(url, "base64key:") {
		return nil, usage(fmt.Errorf("%s takes no key itself, for every user can read a command line: put it into a file of mode 0600 and give file:///PATH", flag))
	}
	err := c.KMS.Check(url)
	var kek kms.KEK
	if err == nil {
		kek, err = kms.Open(ctx, url, providers(c)...)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return kek, nil
}

// addReason adds the flag for the reason of a change of keys.
func addReason(cmd *cobra.Command) { cmd.Flags().String("reason", "", audit.ReasonFlagUsage()) }

// reasonOf reads the flag, of a command that has it.
func reasonOf(cmd *cobra.Command) (audit.Reason, error) {
	flag := cmd.Flags().Lookup("reason")
	if flag == nil || !flag.Changed {
		return "", nil
	}
	reason, err := audit.ParseReason(flag.Value.String())
	if err == nil && reason == "" {
		err = audit.ErrReason
	}
	if err != nil {
		return "", usage(fmt.Errorf("--reason: %w", err))
	}
	return reason, nil
}

// printFailures names the tenants for which something failed.
func printFailures(out io.Writer, failures []recovery.Failure) {
	for _, f := range failures {
		of := "tenant " + strconv.Quote(f.Tenant)
		if f.Tenant == "" {
			of = "the environment's own keys"
		}
		fmt.Fprintf(out, "%s: %s\n", of, message(f.Err))
	}
}

// failedTenant is a tenant for which something failed; the empty one is the environment itself.
type failedTenant struct {
	Tenant string `json:"tenant"`
	failure
}

func failedTenants(failures []recovery.Failure) []failedTenant {
	list := []failedTenant{}
	for _, f := range failures {
		list = append(list, failedTenant{f.Tenant, *failureOf(f.Err)})
	}
	return list
}
