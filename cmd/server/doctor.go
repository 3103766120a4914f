package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/internal/config"
	"github.com/coffer-storage/coffer/server/kms"
)

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: groupServer,
		Short:   "Check an installation: permissions, tokens, space, keys, KMS, backups, clock, limits",
		Long: "Checks with the server's configuration whether an installation works and is safe, and says for each problem what to do. It changes nothing,\n" +
			"and servers may run. The KMS opens every keyset, one by one. The exit code is 0 if no check failed; a warning is not a failure.",
		Example: "  coffer doctor --data DIR\n  coffer doctor --data DIR --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd) },
	}
	config.AddFlags(cmd.Flags(), "data", "environment", "production", "listen")
	addJSONFlag(cmd)
	return cmd
}

func runDoctor(cmd *cobra.Command) error {
	c, warnings, err := config.Load(os.Environ(), cmd.Flags())
	if err != nil {
		return err
	}
	if _, err := loadData(cmd); err != nil {
		return err
	}
	p := &installation{config: &c, warnings: warnings, progress: newProgress(cmd.ErrOrStderr(), "keysets"), now: time.Now()}
	p.keks, p.kekErr = openExistingKEKs(cmd.Context(), &c)
	found := p.runChecks(cmd.Context())
	worst := verdictOK
	for _, f := range found {
		if f.Verdict == verdictFailure || worst == verdictOK {
			worst = f.Verdict
		}
	}
	err = printResult(cmd, struct {
		Verdict verdict   `json:"verdict"` // the worst
		Checks  []finding `json:"checks"`
	}{worst, found}, func(out io.Writer) error { return printFindings(out, found) })
	if err == nil && worst == verdictFailure {
		err = errCheckFailed
	}
	return err
}

// verdict is the result of a check.
type verdict string

// The verdicts.
const (
	verdictOK      verdict = "ok"
	verdictWarning verdict = "warn" // it works, but should be changed
	verdictFailure verdict = "fail" // it does not work, or is not safe
)

// finding is one line of the report.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Found   string  `json:"found"`
	Do      string  `json:"do,omitempty"` // what to do about it
}

func okFinding(format string, args ...any) finding {
	return finding{Verdict: verdictOK, Found: fmt.Sprintf(format, args...)}
}

func warningFinding(do, format string, args ...any) finding {
	return finding{Verdict: verdictWarning, Found: fmt.Sprintf(format, args...), Do: do}
}

func failureFinding(do, format string, args ...any) finding {
	return finding{Verdict: verdictFailure, Found: fmt.Sprintf(format, args...), Do: do}
}

// check is one check of an installation. It returns at least one finding, and changes nothing.
type check struct {
	name string
	run  func(ctx context.Context, p *installation) []finding
}

// checks are all checks, in the order of the report.
var checks = []check{
	{"configuration", checkConfiguration},
	{"permissions", checkPermissions},
	{"listening", checkListening},
	{"readiness", checkReadiness},
	{"limits", checkLimits},
	{"free space", checkFreeSpace},
	{"audit log", checkAuditLog},
	{"tokens", checkTokens},
	{"KMS", checkKMS},
	{"keysets", checkKeysets},
	{"backup", checkBackup},
	{"drill", checkDrill},
	{"Redis", checkRedis},
	{"clock", checkClock},
}

// installation is the installation that is checked.
type installation struct {
	config   *config.Config
	warnings []string // of the configuration
	keks     kms.Set
	kekErr   error
	progress func(done, total int) // nil for none
	now      time.Time
}

// checkTimeout limits one check, except that of the keysets, which calls the KMS for each.
const checkTimeout = 20 * time.Second

// errCheckFailed means that a check failed, which the command printed.
var errCheckFailed = errors.New("a check failed")

// runChecks runs all checks.
func (p *installation) runChecks(ctx context.Context) (found []finding) {
	for _, e := range checks {
		for _, f := range e.run(ctx, p) {
			f.Check = e.name
			found = append(found, f)
		}
	}
	return found
}

func printFindings(out io.Writer, found []finding) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		text := f.Found
		if f.Do != "" {
			text += ": " + f.Do
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Verdict, f.Check, text)
	}
	return table.Flush()
}
