package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/recovery"
)

func keysBackupCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Write all tenants' wrapped keys into one file",
		Long: "Writes the wrapped keys of all tenants into a new file that only its owner can read. Only the configured KEK opens them, so the file need not be\n" +
			"secret; store it on another disk than the data directory. It has no data: back up sealed data by other means. Keysets that cannot be read are\n" +
			"named and left out. The KEK then opens the keysets in the keystore; those that do not open are named, and are in the file unchanged. The exit\n" +
			"code is 1 in both cases: then keep an earlier backup.",
		Example: "  coffer keys backup --data DIR --out keys-2026-01-31.backup",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Lstat(path); path == "" || err == nil {
				return usageError(errors.New("--out must be the path of a new file: a backup is never overwritten"))
			}
			return withOperator(cmd, "", func(ctx context.Context, _ *operator, r *recovery.Recovery) error {
				tenants, err := r.Backup(ctx, func(fill func(io.Writer) error) error {
					return durable.CreateFrom(path, func(w io.Writer) error {
						buffered := bufio.NewWriterSize(w, 1<<20)
						return errors.Join(fill(buffered), buffered.Flush())
					})
				})
				if err != nil && tenants == 0 {
					return fmt.Errorf("write the backup: %w", err)
				}
				info, statErr := os.Stat(path)
				if statErr != nil {
					return errors.Join(err, statErr)
				}
				return exitWith(exitFailed, errors.Join(err, printResult(cmd, backupReport{tenants, info.Size(), failureOf(err)}, func(out io.Writer) error {
					_, err := fmt.Fprintf(out, "tenants: %d\nbytes: %d\n", tenants, info.Size())
					return err
				})))
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringVar(&path, "out", "", "the new file")
	addJSONFlag(cmd)
	return cmd
}

// backupReport is the result of coffer keys backup.
type backupReport struct {
	Tenants int      `json:"tenants"`
	Bytes   int64    `json:"bytes"`
	Error   *failure `json:"error,omitempty"` // names keysets that are missing in the file, or do not open
}

func keysDrillCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "drill",
		Short: "Prove that a backup opens, without changing the keystore",
		Long: "Unwraps every root in a backup with the configured KEK, and every key with its root. It changes nothing. The exit code is 0 only if everything\n" +
			"opened, so that cron can run it. The audit log records the drill.",
		Example: "  coffer keys drill --data DIR --in keys-2026-01-31.backup",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackup(cmd, "drill", path, false, func(ctx context.Context, _ *operator, r *recovery.Recovery, file *os.File) error {
				begun := time.Now()
				drill, err := r.Drill(ctx, file)
				if drill == nil {
					return err
				}
				took := time.Since(begun)
				return errors.Join(err, printResult(cmd, newDrillReport(drill, took, err), func(out io.Writer) error {
					printDrill(out, drill, took)
					return nil
				}))
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	addFormerKEKFlag(cmd)
	cmd.Flags().StringVar(&path, "in", "", "the backup")
	addJSONFlag(cmd)
	return cmd
}

// drillReport is the result of coffer keys drill.
type drillReport struct {
	MadeAt       time.Time      `json:"madeAt"`
	Tenants      int            `json:"tenants"`
	Shredded     int            `json:"shredded"`
	Roots        int            `json:"roots"`
	Keys         int            `json:"keys"`
	Milliseconds float64        `json:"milliseconds"`
	Failures     []failedTenant `json:"failures"`
	Error        *failure       `json:"error,omitempty"`
}

func newDrillReport(d *recovery.DrillReport, took time.Duration, err error) drillReport {
	return drillReport{d.Created.UTC(), d.Tenants, d.Shredded, d.Roots, d.Keys, milliseconds(took), toFailedTenants(d.Failures), failureOf(err)}
}

func printDrill(out io.Writer, d *recovery.DrillReport, took time.Duration) {
	fmt.Fprintf(out, "made: %s\ntenants: %d, of them shredded: %d\nroots opened: %d\nkeys opened: %d\ntook: %s\n",
		formatTime(d.Created, ""), d.Tenants, d.Shredded, d.Roots, d.Keys, roundDuration(took))
	printFailures(out, d.Failures)
	if len(d.Failures) == 0 {
		fmt.Fprintln(out, "nothing is missing")
	}
}
