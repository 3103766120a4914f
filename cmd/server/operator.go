package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/sqlitekv"
)

// keyFlags are the flags of settings that all commands with keys have.
var keyFlags = []string{"data", "environment"}

// operator is the keys and the audit log that a command works on.
type operator struct {
	config *config.Config
	keys   *keys
	audit  *audit.File
	reason audit.Reason // of --reason
	log    *slog.Logger
}

// withOperator runs a function with the keys and the audit log open.
func withOperator(cmd *cobra.Command, what string, do func(ctx context.Context, o *operator, r *recovery.Recovery) error) (err error) {
	o, err := openOperator(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	return do(cmd.Context(), o, o.recovery(cmd, what))
}

// openOperator opens the keys and the audit log. It never creates a master key, which would open no keyset, and returns an error if the
// environment has no keysets and others have some, or the data directory had some. The caller closes the operator.
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

// openOperatorKeys opens the keys without the audit log.
func openOperatorKeys(cmd *cobra.Command) (o *operator, err error) {
	c, err := loadData(cmd)
	if err != nil {
		return nil, err
	}
	o = &operator{config: &c, log: commandLog(cmd)}
	if o.reason, err = parseReasonFlag(cmd); err != nil {
		return nil, err
	}
	if err := requireLocalKey(&c); err != nil {
		return nil, err
	}
	former, err := openFormerKEKs(cmd, &c)
	if err != nil {
		return nil, err
	}
	o.keys, err = openKeys(cmd.Context(), &c, nil, o.log, former...)
	return o, err
}

// openLog opens the audit log, and the environment's own keys if they are not open yet.
func (o *operator) openLog(ctx context.Context) (err error) {
	if o.keys.system == nil {
		if o.keys.system, err = o.keys.openSystem(ctx, o.config); err != nil {
			return err
		}
	}
	o.audit, _, err = openAudit(ctx, o.config, o.keys.system, auditOptions(o.config, o.log))
	return err
}

func (o *operator) close() error {
	err := o.keys.close()
	if o.audit != nil {
		err = errors.Join(err, o.audit.Close())
	}
	return err
}

// recovery returns the operations on all keysets, with a progress bar that shows the label what.
func (o *operator) recovery(cmd *cobra.Command, what string) *recovery.Recovery {
	return &recovery.Recovery{
		Keyring: o.keys.ring, Store: o.keys.store, KEKs: o.keys.keks, Environment: o.config.Environment, Audit: o.audit,
		Operation: operationName(cmd), Reason: o.reason, Progress: newProgress(cmd.ErrOrStderr(), what),
	}
}

// cacheStore opens the store of the cache. It returns nil if a running server has the embedded store open, or if no server has created a store yet.
func (o *operator) cacheStore() (kv.Store, error) {
	switch {
	case o.config.Unencrypted:
		return nil, refusedError(errors.New("ENCRYPTION_ENABLED is false: there is nothing encrypted to rotate"))
	case o.config.Redis.Configured():
		return asStore(o.config.Redis.Open())
	case !exists(cacheDir(o.config)):
		return nil, nil
	}
	store, err := sqlitekv.Open(cacheDir(o.config), nil)
	if errors.Is(err, sqlitekv.ErrInUse) {
		return nil, nil
	}
	return asStore(store, err)
}

// asStore returns a nil interface with an error: a nil pointer in an interface is not nil.
func asStore[T kv.Store](store T, err error) (kv.Store, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}

// loadData reads the configuration of a command that needs an existing data directory. It does not create one, because the path may be
// mistyped.
func loadData(cmd *cobra.Command) (c config.Config, err error) {
	c, _, err = config.Load(os.Environ(), cmd.Flags())
	if err != nil {
		return c, err
	}
	info, err := os.Stat(c.Data)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return c, notFoundError(fmt.Errorf("there is no data directory %s: pass the server's data directory with --data", c.Data))
	}
	if err != nil {
		return c, fmt.Errorf("the data directory cannot be read: %w", err)
	}
	return c, nil
}

// operationName returns the name of a command in audit events.
func operationName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), "coffer ")
}

// commandLog returns the log of a command. It has errors only.
func commandLog(cmd *cobra.Command) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelError}))
}

// addFormerKEKFlag adds the flag for KEKs that may still wrap keysets.
func addFormerKEKFlag(cmd *cobra.Command) {
	cmd.Flags().StringArray("former-kek", nil, "URL of another KEK that may still wrap keysets or the backup; repeat the flag for several")
}

// openFormerKEKs opens the KEKs of --former-kek, if the command has the flag.
func openFormerKEKs(cmd *cobra.Command, c *config.Config) (keks []kms.KEK, err error) {
	if cmd.Flags().Lookup("former-kek") == nil {
		return nil, nil
	}
	urls, err := cmd.Flags().GetStringArray("former-kek")
	for _, url := range urls {
		kek, err := openFlagKEK(cmd.Context(), c, "--former-kek", url)
		if err != nil {
			return nil, err
		}
		keks = append(keks, kek)
	}
	return keks, err
}

// addReasonFlag adds the flag for the reason of a change of keys.
func addReasonFlag(cmd *cobra.Command) { cmd.Flags().String("reason", "", audit.ReasonFlagUsage()) }

// parseReasonFlag reads --reason, if the command has the flag.
func parseReasonFlag(cmd *cobra.Command) (audit.Reason, error) {
	flag := cmd.Flags().Lookup("reason")
	if flag == nil || !flag.Changed {
		return "", nil
	}
	reason, err := audit.ParseReason(flag.Value.String())
	if err == nil && reason == "" {
		err = audit.ErrReason
	}
	if err != nil {
		return "", usageError(fmt.Errorf("--reason: %w", err))
	}
	return reason, nil
}

// confirmTenant compares the tenant's id with the flag --confirm, or with a line of standard input.
func confirmTenant(cmd *cobra.Command, confirm, tenant, question string) error {
	if confirm == "" {
		fmt.Fprint(cmd.ErrOrStderr(), question)
		answer := make(chan string, 1)
		go func() {
			line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // an empty answer does not confirm
			answer <- strings.TrimRight(line, "\r\n")
		}()
		select {
		case confirm = <-answer:
		case <-cmd.Context().Done():
			return errors.New("nothing was changed: interrupted")
		}
	}
	if confirm != tenant {
		return refusedError(errors.New("nothing was changed: --confirm, or the answer, must be the tenant's id"))
	}
	return nil
}

// printFailures prints the tenants whose operation failed, with the errors.
func printFailures(out io.Writer, failures []recovery.Failure) {
	for _, f := range failures {
		of := "tenant " + strconv.Quote(f.Tenant)
		if f.Tenant == "" {
			of = "the environment's own keys"
		}
		fmt.Fprintf(out, "%s: %s\n", of, errorText(f.Err))
	}
}

// failedTenant is a tenant whose operation failed. An empty id means the environment's own keys.
type failedTenant struct {
	Tenant string `json:"tenant"`
	failure
}

func toFailedTenants(failures []recovery.Failure) []failedTenant {
	list := []failedTenant{}
	for _, f := range failures {
		list = append(list, failedTenant{f.Tenant, *failureOf(f.Err)})
	}
	return list
}

func tenantError(id string, err error) error {
	return fmt.Errorf("tenant %s: %w", strconv.Quote(id), err)
}
