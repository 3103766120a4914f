package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
)

func kmsCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "kms",
		GroupID: groupAdmin,
		Short:   "Check the configured KMS",
	}
	group.AddCommand(kmsCheckCommand())
	return group
}

func kmsCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check that every configured KEK wraps and unwraps",
		Long: "Wraps and unwraps random bytes with each configured key encryption key (KEK), and checks that they do not unwrap for another tenant. If there\n" +
			"are keysets, it also opens the keys of a tenant and of the audit log. It uses the server's configuration and stores nothing. It fails if\n" +
			"`coffer serve` would, and says what to check.",
		Example: "  coffer kms check\n  KMS_PROVIDER=vault VAULT_ADDR=https://vault:8200 VAULT_TOKEN_FILE=/run/secrets/vault-token coffer kms check --environment prod",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := config.Load(os.Environ(), cmd.Flags())
			found := kmsCheck{KEKs: []kekCheck{}, Opened: []string{}}
			if err == nil {
				err = found.run(cmd.Context(), &c)
			}
			if !asJSON {
				found.print(cmd.OutOrStdout())
				return err
			}
			found.Works, found.Error = err == nil, failureOf(err)
			if failed := printJSON(cmd.OutOrStdout(), found); err == nil {
				err = failed
			}
			return err
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON, and a failure too")
	return cmd
}

// kmsCheck is the result of the check.
type kmsCheck struct {
	Works  bool       `json:"works"` // everything works
	KEKs   []kekCheck `json:"keks"`
	Opened []string   `json:"opened"` // existing keys that the KEKs opened
	Error  *failure   `json:"error,omitempty"`
}

type kekCheck struct {
	URL          string   `json:"url"`
	Classes      []string `json:"classes"`
	Identity     string   `json:"identity,omitempty"`
	Credentials  string   `json:"credentials,omitempty"`
	WrapMillis   float64  `json:"wrapMillis"`
	UnwrapMillis float64  `json:"unwrapMillis"`
	Works        bool     `json:"works"`
	wrap, unwrap time.Duration
}

// run checks the KEKs until one fails, then the existing keys, and then whether production allows the KEKs.
func (found *kmsCheck) run(ctx context.Context, c *config.Config) error {
	keks, err := openExistingKEKs(ctx, c)
	if err != nil {
		return err
	}
	for i, kek := range keks.All() {
		one := kekCheck{URL: kek.URL(), Classes: classesUnder(keks, i)}
		proof, err := kms.Check(ctx, kek, c.Environment)
		if err == nil {
			one.Works, one.Identity, one.Credentials = true, proof.Identity, proof.Credentials
			one.wrap, one.unwrap = proof.Wrap, proof.Unwrap
			one.WrapMillis, one.UnwrapMillis = milliseconds(proof.Wrap), milliseconds(proof.Unwrap)
		}
		if found.KEKs = append(found.KEKs, one); err != nil {
			return err
		}
	}
	if found.Opened, err = openExistingKeys(ctx, c, keks); err != nil {
		return err
	}
	return refusedError(c.CheckProduction())
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// print prints the result as text.
func (found *kmsCheck) print(out io.Writer) {
	for _, k := range found.KEKs {
		fmt.Fprintf(out, "KEK: %s\nclasses: %s\n", k.URL, strings.Join(k.Classes, ", "))
		if k.Identity != "" {
			fmt.Fprintf(out, "identity: %s\n", k.Identity)
		}
		if k.Credentials != "" {
			fmt.Fprintf(out, "credentials: %s\n", k.Credentials)
		}
		if k.Works {
			fmt.Fprintf(out, "wrap: %s\nunwrap: %s\nit works\n", roundDuration(k.wrap), roundDuration(k.unwrap))
		}
	}
	for _, what := range found.Opened {
		fmt.Fprintf(out, "opened: %s\n", what)
	}
}

// openExistingKeys opens the keys that a server opens when it starts: those of a tenant and of the audit log. It creates none.
func openExistingKeys(ctx context.Context, c *config.Config, keks kms.Set) (opened []string, err error) {
	opened = []string{}
	if gone, err := auditLogGone(c); err != nil || gone {
		return opened, errors.Join(err, errAuditLogGone)
	}
	if c.Keys.Redis == "" && !exists(keysDir(c)) && !hadKeysets(c) && !exists(auditPath(c)) {
		return opened, nil
	}
	k := &keys{keks: keks}
	if k.store, k.location, k.closeStore, err = openKeystore(ctx, c, slog.New(slog.DiscardHandler)); err != nil {
		return opened, err
	}
	if k.ring, err = keyring.New(k.store, keks, c.Environment); err != nil {
		return opened, errors.Join(err, k.closeStore())
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if err := k.requireKeysets(ctx, c); err != nil {
		return opened, err
	}
	for d, err := range k.ring.Documents(ctx) {
		if err != nil {
			return opened, err
		}
		if d.Shredded() {
			continue
		}
		if err := k.open(ctx, c, d.Owner); err != nil {
			return opened, err
		}
		opened = append(opened, "the keys of a tenant")
		break
	}
	used, err := audit.Exists(auditPath(c))
	if err != nil {
		return opened, err
	}
	if used {
		system, err := k.openSystem(ctx, c)
		if err == nil {
			_, err = auditKey(ctx, auditPath(c), system)
		}
		if err != nil {
			return opened, err
		}
		opened = append(opened, "the key of the audit log")
	}
	return opened, nil
}

// classesUnder returns the names of the classes whose keys a KEK wraps.
func classesUnder(keks kms.Set, i int) (names []string) {
	for _, class := range classify.All {
		if keks.For(class) == keks.All()[i] {
			names = append(names, class.String())
		}
	}
	return names
}
