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
		Short: "Merge a backup of keys into the keystore",
		Long: "Merges a backup into the keystore: missing keys are restored, and existing keys stay. Keys that were created since the backup are not lost, and keys\n" +
			"that were destroyed or shredded since do not come back. A key whose destruction is in the audit log of the data directory, or in another log\n" +
			"(--audit-log), is restored as destroyed. A tenant whose shredding is there, or in a list (--shredded), is restored as shredded. The logs are\n" +
			"verified first, with keys from the keysets. Pass a file of a log that cannot be verified with --unproven-audit-log: anyone who could write to\n" +
			"it decides which keys are destroyed. A backup that is truncated or altered, of another environment or under another KEK, is refused before\n" +
			"anything is changed. The command can be repeated, and servers may run.",
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
	cmd.Flags().StringVar(&list, "shredded", "", "file with the ids of tenants that were shredded since the backup, one on each line")
	cmd.Flags().StringArrayVar(&logs, "audit-log", nil, "directory of another audit log that records shredded tenants and destroyed keys; repeat the flag for several")
	cmd.Flags().StringArrayVar(&unproven, "unproven-audit-log", nil, "file of an audit log that is believed without verification; repeat the flag for several")
	addFormerKEKFlag(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only print what would change")
	addJSONFlag(cmd)
	return cmd
}

// withBackup runs a function with the keys, the audit log and a backup open. If the keysets are lost, only the backup has the key of the audit
// log: with restore, withBackup first restores the environment's own keys, so that the log can be opened. Without restore, nothing is
// written to the keystore.
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

// makeKeystore creates the directory of the keystore, which a server does not create again.
func makeKeystore(cmd *cobra.Command) error {
	c, err := loadData(cmd)
	if err != nil || c.Keys.Redis != "" {
		return err
	}
	return os.MkdirAll(keysDir(&c), 0o700)
}

// openBackup opens a backup. The caller closes it.
func openBackup(path string) (*os.File, error) {
	if path == "" {
		return nil, usageError(errors.New("--in must be the path of a backup"))
	}
	f, err := durable.OpenRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("the backup: %w", err)
	}
	return f, nil
}

// readEndings reads which keys and tenants were destroyed: from the audit log of the data directory, from other logs, and from a list.
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
			line = strings.TrimPrefix(line, "\ufeff") // some editors begin a file with a byte order mark
		}
		if id := strings.TrimRight(line, "\r"); id != "" {
			endings.Tenants[id] = true
		}
	}
	return endings, lines.Err()
}

// addEndings adds the destroyed keys and shredded tenants of a log, which it verifies first.
func addEndings(ctx context.Context, o *operator, to *recovery.Tombstones, path string) error {
	key, err := existingAuditKey(ctx, path, o.keys.system)
	if err == nil {
		err = to.AddLog(ctx, path, key)
	}
	if errors.Is(err, audit.ErrAltered) {
		return fmt.Errorf("%w: nothing was changed. See coffer audit verify; then move the log away and keep it, begin another one by coffer audit begin, and name the "+
			"shredded tenants with --shredded, or pass files of the log that you trust with --unproven-audit-log", err)
	}
	return err
}

// restoreReport is the result of coffer keys restore.
type restoreReport struct {
	MadeAt    time.Time        `json:"madeAt"`
	DryRun    bool             `json:"dryRun"`
	Changed   []restoredTenant `json:"changed"`
	Unchanged int              `json:"unchanged"`
	Ended     []endedTenant    `json:"ended"` // destroyed or shredded since the backup
	Failures  []failedTenant   `json:"failures"`
	Error     *failure         `json:"error,omitempty"`
}

type restoredTenant struct {
	Tenant string `json:"tenant"`
	New    bool   `json:"new"` // it was not in the keystore
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
