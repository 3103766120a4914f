package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/internal/durable"
	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/server/keyring"
)

func keysRestoreCommand() *cobra.Command {
	var path, list string
	var logs, unproven []string
	var dry bool
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Merge a backup of keys into the store of keysets",
		Long: "Merges a backup into the store of keysets: what is missing comes back, and what is there stays. No key that was made since is lost, and none that was destroyed\n" +
			"or shredded since comes back. Keys whose destruction is in the audit log of the data directory or in another (--audit-log) are restored as destroyed, tenants\n" +
			"whose shredding is there, or in a list (--shredded), as shredded. The logs are verified first, by keys that are in the keysets; a file of a log that\n" +
			"cannot be verified any more is given by --unproven-audit-log: whoever could write to it decides what is destroyed. A backup that is cut short or altered, of another environment or under another KEK, is refused before anything is changed.\n" +
			"To run it again is safe, and so it is while servers run.",
		Example: "  coffer keys restore --data DIR --in keys-2026-01-31.backup --dry-run",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackup(cmd, "restore", path, !dry, func(ctx context.Context, o *operator, r *recovery.Recovery, file *os.File) error {
				endings, err := readEndings(ctx, o, logs, unproven, list)
				if err != nil {
					return err
				}
				if dry {
					r.Audit = audit.Discard
				}
				restored, err := r.Restore(ctx, file, endings)
				if restored == nil {
					return err
				}
				return errors.Join(err, printResult(cmd, newRestoreReport(restored, dry, err), func(out io.Writer) error {
					printRestored(out, restored, dry)
					return nil
				}))
			})
		},
	}
	config.AddFlags(cmd.Flags(), keyFlags...)
	cmd.Flags().StringVar(&path, "in", "", "the backup")
	cmd.Flags().StringVar(&list, "shredded", "", "file with the ids of tenants that were shredded since the backup, one a line")
	cmd.Flags().StringArrayVar(&logs, "audit-log", nil, "directory of another audit log that records shredded tenants and destroyed keys; given again for each")
	cmd.Flags().StringArrayVar(&unproven, "unproven-audit-log", nil, "a file of an audit log that is believed as it stands; given again for each")
	addFormerKEKFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would change")
	addJSONFlag(cmd)
	return cmd
}

// operateOn is operate for a command that reads a backup, which is for when keysets are lost: the key of the audit log may be in the
// backup alone. With restore, the environment's own keys are restored first, so that the log can be opened; without it, nothing is
// written to the store of keysets.
func withBackup(
	cmd *cobra.Command, what, path string, restore bool,
	do func(ctx context.Context, o *operator, r *recovery.Recovery, file *os.File) error,
) (err error) {
	ctx := cmd.Context()
	file, err := openBackup(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := makeKeystore(cmd); err != nil {
		return err
	}
	o, err := openOperatorKeys(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	r := o.recovery(cmd, what)
	if !restore {
		if r, err = r.DryRun(); err != nil {
			return err
		}
		defer r.Keyring.Close()
	}
	own, err := r.RecoverSystem(ctx, file)
	if errors.Is(err, keyring.ErrWrongEnvironment) {
		err = fmt.Errorf("set COFFER_ENVIRONMENT or --environment to the label of the keys: %w", err)
	}
	if err != nil {
		return err
	}
	o.keys.system = own
	if err := o.openLog(ctx); err != nil {
		return err
	}
	r.Audit = o.audit
	return do(ctx, o, r, file)
}

// makeKeystore makes the place of keysets that was lost with them, which a server refuses to do.
func makeKeystore(cmd *cobra.Command) error {
	c, err := loadData(cmd)
	if err != nil || c.Keys.Redis != "" {
		return err
	}
	return os.MkdirAll(keysDir(&c), 0o700)
}

// openBackup opens a backup of any size.
func openBackup(path string) (*os.File, error) {
	if path == "" {
		return nil, usageError(errors.New("--in takes the path of a backup"))
	}
	f, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("the backup: %w", err)
	}
	return f, nil
}

// readEndings reads the audit log of the data directory, others, and a list.
func readEndings(ctx context.Context, o *operator, logs, unproven []string, list string) (*recovery.Tombstones, error) {
	endings := &recovery.Tombstones{Tenants: map[string]bool{}}
	for _, path := range append(logs, auditPath(o.config)) {
		if err := addEndings(ctx, o, endings, path); err != nil {
			return nil, err
		}
	}
	for _, path := range unproven {
		if err := endings.AddUnprovenLog(ctx, path); err != nil {
			return nil, err
		}
	}
	if list == "" {
		return endings, nil
	}
	f, err := os.Open(list)
	if err != nil {
		return nil, fmt.Errorf("--shredded: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for first := true; lines.Scan(); first = false {
		line := lines.Text()
		if first {
			line = strings.TrimPrefix(line, "\ufeff") // which some editors begin a file with
		}
		if id := strings.TrimRight(line, "\r"); id != "" {
			endings.Tenants[id] = true
		}
	}
	return endings, lines.Err()
}

// addEndings adds what a log says, if that is as it was written.
func addEndings(ctx context.Context, o *operator, to *recovery.Tombstones, path string) error {
	key, err := existingAuditKey(ctx, path, o.keys.system)
	if err == nil {
		err = to.AddLog(ctx, path, key)
	}
	if errors.Is(err, audit.ErrAltered) {
		return fmt.Errorf("%w: nothing was changed. See coffer audit verify; then move the log away and keep it, begin another one by coffer audit begin, and give the "+
			"tenants that were shredded by --shredded, or files of the log that you believe by --unproven-audit-log", err)
	}
	return err
}

// restoreReport is what coffer keys restore changed, or would.
type restoreReport struct {
	MadeAt    time.Time        `json:"madeAt"`
	DryRun    bool             `json:"dryRun"`
	Changed   []restoredTenant `json:"changed"`
	Unchanged int              `json:"unchanged"`
	Ended     []endedTenant    `json:"ended"` // since the backup, and stay so
	Failures  []failedTenant   `json:"failures"`
	Error     *failure         `json:"error,omitempty"`
}

type restoredTenant struct {
	Tenant string `json:"tenant"`
	New    bool   `json:"new"` // it was not in the store
}

type endedTenant struct {
	Tenant   string `json:"tenant"`
	Shredded bool   `json:"shredded"`
	Keys     int    `json:"destroyedKeys"`
}

func newRestoreReport(r *recovery.RestoreReport, dry bool, err error) restoreReport {
	report := restoreReport{
		MadeAt: r.Created.UTC(), DryRun: dry, Changed: []restoredTenant{}, Unchanged: r.Unchanged, Ended: toEndedTenants(r.Destroyed),
		Failures: toFailedTenants(r.Failures), Error: failureOf(err),
	}
	for _, c := range r.Changes {
		report.Changed = append(report.Changed, restoredTenant{c.Tenant, c.New})
	}
	return report
}

func toEndedTenants(all []recovery.Destroyed) []endedTenant {
	ended := []endedTenant{}
	for _, e := range all {
		ended = append(ended, endedTenant{e.Tenant, e.Shredded, e.Keys})
	}
	return ended
}

func printRestored(out io.Writer, r *recovery.RestoreReport, dry bool) {
	did := map[bool]string{false: "changed", true: "would change"}[dry]
	fmt.Fprintf(out, "made: %s\n%s: %d tenants; unchanged: %d\n", formatTime(r.Created, ""), did, len(r.Changes), r.Unchanged)
	for _, c := range r.Changes {
		what := "merged with what is in the store"
		if c.New {
			what = "back"
		}
		fmt.Fprintf(out, "tenant %s: %s\n", strconv.Quote(c.Tenant), what)
	}
	for _, e := range r.Destroyed {
		if e.Shredded {
			fmt.Fprintf(out, "tenant %s: shredded since the backup, and stays so\n", strconv.Quote(e.Tenant))
		}
		if e.Keys > 0 {
			fmt.Fprintf(out, "tenant %s: %d keys destroyed since the backup, and stay so\n", strconv.Quote(e.Tenant), e.Keys)
		}
	}
	printFailures(out, r.Failures)
}
