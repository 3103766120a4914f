package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/server/config"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
)

func kmsCommand() *cobra.Command {
	group := &cobra.Command{
		Use:     "kms",
		GroupID: groupAdmin,
		Short:   "Prove that the configured KMS can be used",
	}
	group.AddCommand(kmsCheckCommand())
	return group
}

func kmsCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Have every configured KEK wrap and unwrap something, and say how long it took or what to check",
		Long: "Has each configured KEK (key encryption key) wrap and unwrap random bytes, with the configuration of the server, and sees that they do not\n" +
			"unwrap for another tenant. Nothing is stored. It fails where `coffer serve` would, and says what to check.",
		Example: "  coffer kms check\n  KMS_PROVIDER=vault VAULT_ADDR=https://vault:8200 VAULT_TOKEN_FILE=/run/secrets/vault-token coffer kms check --environment prod",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := config.Load(os.Environ(), cmd.Flags())
			if err != nil {
				return err
			}
			keks, err := openForCheck(cmd.Context(), &c)
			if err != nil {
				return err
			}
			for i, kek := range keks.All() {
				if err := checkKEK(cmd.Context(), cmd.OutOrStdout(), kek, c.Environment, classesUnder(keks, i)); err != nil {
					return err
				}
			}
			return c.Production()
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	return cmd
}

// openForCheck opens the KEKs, and makes no master key.
func openForCheck(ctx context.Context, c *config.Config) (kms.Set, error) {
	if path := filepath.Join(c.Data, "master.key"); c.KMS.KEK == "" && c.MasterKey == "" {
		if _, err := os.Stat(path); err != nil {
			return kms.Set{}, fmt.Errorf("no KEK is configured, and there is no master key in %s: set KMS_PROVIDER, COFFER_KEK or ENCRYPTION_MASTER_KEY", path)
		}
	}
	return openKEKs(ctx, c, nil, slog.New(slog.DiscardHandler))
}

// classesUnder names the classes whose keys the KEK wraps.
func classesUnder(keks kms.Set, i int) string {
	var names []string
	for _, class := range classify.All {
		if keks.For(class) == keks.All()[i] {
			names = append(names, class.String())
		}
	}
	return strings.Join(names, ", ")
}

// checkKEK proves a KEK, and says how.
func checkKEK(ctx context.Context, out io.Writer, kek kms.KEK, environment, classes string) error {
	fmt.Fprintf(out, "KEK: %s\nclasses: %s\n", kek.URL(), classes)
	proof, err := kms.Check(ctx, kek, environment)
	if err != nil {
		return err
	}
	if proof.Identity != "" {
		fmt.Fprintf(out, "identity: %s\n", proof.Identity)
	}
	if proof.Credentials != "" {
		fmt.Fprintf(out, "credentials: %s\n", proof.Credentials)
	}
	fmt.Fprintf(out, "wrap: %s\nunwrap: %s\nit works\n", proof.Wrap.Round(10*time.Microsecond), proof.Unwrap.Round(10*time.Microsecond))
	return nil
}
