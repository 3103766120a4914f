package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/kms"
	"github.com/coffer-storage/coffer/shared/classify"
)

func keysRewrapCommand() *cobra.Command {
	var to []string
	var dry, status, finish, roots bool
	cmd := &cobra.Command{
		Use:   "rewrap",
		Short: "Wrap every tenant's keys with another KEK, or with a new version of it",
		Long: "Wraps the root of every tenant's keys with another key encryption key (KEK). Data does not change. The configured KEK is the former one.\n" +
			"Servers keep working with it, and with the new one after a restart with the new configuration.\n\n" +
			"  1. coffer keys rewrap --to URL             wraps every root again\n" +
			"  2. configure the new KEK and restart every server\n" +
			"  3. coffer keys rewrap --to URL             with the former KEK configured, for tenants that were created in the meantime\n" +
			"  4. coffer keys rewrap --to URL --finish    checks that the new KEK unwraps every root, and then retires the former slots\n" +
			"  5. coffer keys backup                      because earlier backups need the former KEK\n\n" +
			"Run an interrupted step again to continue it. After a rotation of the KEK in its KMS, pass its own URL: then only steps 1 and 5 are needed, and\n" +
			"an interrupted step 1 starts from the beginning.\n" +
			"--new-roots replaces the roots: a leaked root opens no key that is created afterwards. Rotate the keys that it opened with --compromised.\n" +
			"Pass a KEK for one class as --to CLASS=URL, besides the general one. The command contacts only these URLs and the configured ones.",
		Example: "  coffer keys rewrap --data DIR --to awskms:///alias/coffer?region=eu-central-1\n" +
			"  coffer keys rewrap --data DIR --to file:///etc/coffer/new.key --to phi=file:///etc/coffer/phi.key --dry-run\n" +
			"  coffer keys rewrap --data DIR --status",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if status {
				return withOperator(cmd, "", func(ctx context.Context, _ *operator, r *recovery.Recovery) error {
					return printRewrapStatus(ctx, cmd, r)
				})
			}
			if roots {
				return withOperator(cmd, "rewrap", func(ctx context.Context, _ *operator, r *recovery.Recovery) error {
					return replaceRoots(ctx, cmd, r)
				})
			}
			return withOperator(cmd, "rewrap", func(ctx context.Context, o *operator, r *recovery.Recovery) error {
				keks, err := openTargetKEKs(ctx, o.config, to)
				if err != nil {
					return err
				}
				switch {
				case dry:
					return previewRewrap(ctx, cmd, r, keks)
				case finish:
					return finishRewrap(ctx, cmd, r, keks)
				}
				return rewrap(ctx, cmd, r, keks)
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addReasonFlag(cmd)
	addJSONFlag(cmd)
	addFormerKEKFlag(cmd)
	cmd.Flags().StringArrayVar(&to, "to", nil, "URL of the new KEK, or CLASS=URL for that of one class; repeat the flag for several")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only print what would be wrapped, and check the new KEK")
	cmd.Flags().BoolVar(&status, "status", false, "only print how many roots each KEK wraps")
	cmd.Flags().BoolVar(&finish, "finish", false, "retire the former KEK's slots, if the new one opens every root of every tenant")
	cmd.Flags().BoolVar(&roots, "new-roots", false, "replace the root of every tenant's keys under the configured KEK, because one may have leaked")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "status", "finish", "new-roots")
	cmd.MarkFlagsMutuallyExclusive("to", "status", "new-roots")
	cmd.MarkFlagsOneRequired("to", "status", "new-roots")
	return cmd
}

// openTargetKEKs opens the KEKs that --to names.
func openTargetKEKs(ctx context.Context, c *config.Config, urls []string) (keks kms.Set, err error) {
	byClass := map[classify.Class]kms.KEK{}
	for _, url := range urls {
		class := classify.Class(0)
		if name, rest, ok := strings.Cut(url, "="); ok {
			if c, err := classify.Parse(name); err == nil {
				class, url = c, rest
			}
		}
		if _, twice := byClass[class]; twice {
			return keks, usageError(errors.New("--to is given twice for the same class"))
		}
		if byClass[class], err = openFlagKEK(ctx, c, "--to", url); err != nil {
			return keks, err
		}
	}
	general, ok := byClass[0]
	if !ok {
		return keks, usageError(errors.New("--to lacks the general KEK: pass its URL without a class, too"))
	}
	keks = kms.NewSet(general)
	for class, kek := range byClass {
		if class != 0 {
			keks = keks.With(class, kek)
		}
	}
	return keks, nil
}

func rewrap(ctx context.Context, cmd *cobra.Command, r *recovery.Recovery, to kms.Set) error {
	report, err := r.Rewrap(ctx, to, false)
	return printRewrapReport(cmd, report, "roots wrapped", err,
		"next: if the KEK is another one, configure it and restart every server, run this again, and then with --finish; then run coffer keys backup")
}

func finishRewrap(ctx context.Context, cmd *cobra.Command, r *recovery.Recovery, to kms.Set) error {
	report, err := r.FinishRewrap(ctx, to)
	return printRewrapReport(cmd, report, "slots retired", err,
		"next: coffer keys backup, because earlier backups need the former KEK; disable that KEK in its KMS, and delete it if nothing fails")
}

func replaceRoots(ctx context.Context, cmd *cobra.Command, r *recovery.Recovery) error {
	report, err := r.ReplaceRoots(ctx)
	return printRewrapReport(cmd, report, "roots replaced", err, "next: coffer rotate --execute --compromised, then coffer keys backup")
}

// printRewrapReport prints the report, and the next step if everything succeeded. It returns err, joined with an error of printing.
func printRewrapReport(cmd *cobra.Command, report *recovery.Report, what string, err error, next string) error {
	if report == nil {
		return err
	}
	result := struct {
		Tenants  int            `json:"tenants"`
		Count    int            `json:"count"` // roots wrapped or replaced, or slots retired
		Failures []failedTenant `json:"failures"`
		Next     string         `json:"next,omitempty"` // step
		Error    *failure       `json:"error,omitempty"`
	}{report.Tenants, report.Count, toFailedTenants(report.Failures), next, failureOf(err)}
	if err != nil {
		result.Next = ""
	}
	return errors.Join(err, printResult(cmd, result, func(out io.Writer) error {
		fmt.Fprintf(out, "tenants: %d\n%s: %d\n", report.Tenants, what, report.Count)
		printFailures(out, report.Failures)
		if err == nil {
			fmt.Fprintln(out, next)
		}
		return nil
	}))
}

func previewRewrap(ctx context.Context, cmd *cobra.Command, r *recovery.Recovery, to kms.Set) error {
	report, err := r.Rewrap(ctx, to, true)
	return printRewrapReport(cmd, report, "roots that would be wrapped", err, "the new KEK works")
}

func printRewrapStatus(ctx context.Context, cmd *cobra.Command, r *recovery.Recovery) error {
	status, err := r.CountRootsByKEK(ctx)
	if err != nil {
		return err
	}
	return printResult(cmd, struct {
		Roots map[string]int `json:"roots"` // by the URLs of their KEKs
	}{status}, func(out io.Writer) error {
		for _, urls := range slices.Sorted(maps.Keys(status)) {
			fmt.Fprintf(out, "roots under %s: %d\n", urls, status[urls])
		}
		return nil
	})
}
