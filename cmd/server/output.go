package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/shared/codes"
)

// output is standard output or standard error. It escapes what a terminal would obey, and remembers that something could not be written:
// a reader that was not told everything must not be told that the command succeeded.
type output struct {
	to      io.Writer
	mu      sync.Mutex
	text    io.Writer // to, or what escapes for it
	started atomic.Bool
	failed  atomic.Pointer[error]
}

func newOutput(to io.Writer) *output { return &output{to: to, text: &escapingWriter{to: to}} }

// copyExactly makes the output write every byte as it is.
func (o *output) copyExactly() { o.text = o.to }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.started.Store(true)
	o.mu.Lock()
	n, err := o.text.Write(p)
	o.mu.Unlock()
	if err != nil {
		o.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// err is of the first write that failed.
func (o *output) err() error {
	if err := o.failed.Load(); err != nil {
		return fmt.Errorf("not all of the output could be written: %w", *err)
	}
	return nil
}

// fail prints the failure of a command with --json as JSON, if the command has printed nothing. audit tail prints one value a line, so
// its failure is one more line. args are the command line: if a flag of it is not valid, those behind it were not parsed.
func (o *output) fail(cmd *cobra.Command, args []string, err error, code exit) {
	lines := cmd.Name() == "tail"
	if cmd.Flags().Lookup("json") == nil || !wantsJSON(cmd) && !slices.Contains(args, "--json") || o.started.Load() && !lines {
		return
	}
	f := failureOf(err)
	f.Exit = code
	report := struct {
		Error *failure `json:"error"`
	}{f}
	if lines {
		_ = json.NewEncoder(o).Encode(report) // the command fails anyhow
		return
	}
	_ = printJSON(o, report)
}

// addJSON adds the flag --json, which every command that prints something has.
func addJSONFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print the result as JSON, and a failure too")
}

// wantsJSON reports whether a command was given --json.
func wantsJSON(cmd *cobra.Command) bool {
	asJSON, err := cmd.Flags().GetBool("json")
	return err == nil && asJSON
}

// show prints a result as JSON, or as text for people.
func printResult(cmd *cobra.Command, result any, text func(out io.Writer) error) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return text(cmd.OutOrStdout())
}

// printJSON prints what a command with --json says.
func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// failure is what a program is told of an error. The code is one of package codes' table, and left out where
// the error has none.
type failure struct {
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
	Exit    exit   `json:"exit,omitempty"` // the exit code of the command, if it ended with the failure
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Message: errorText(err)}
	var coded interface{ Code() string }
	if errors.As(err, &coded) {
		f.Code = codes.Of(err).Code
	}
	return f
}

// brief is a measured time without digits that mean nothing.
func roundDuration(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}

func formatTime(at time.Time, none string) string {
	if at.IsZero() {
		return none
	}
	return at.UTC().Format("2006-01-02T15:04Z")
}

func quoteIfSet(text string) string {
	if text == "" {
		return ""
	}
	return strconv.QuoteToASCII(text)
}

// quiet is the log of the parts that a check opens, whose errors are in the findings.
func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
