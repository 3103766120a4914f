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

// output is standard output or standard error. It escapes characters that control a terminal. It keeps the first error of a write, because
// a command with incomplete output must not succeed. It is safe for concurrent use.
type output struct {
	to      io.Writer
	mu      sync.Mutex
	text    io.Writer // to, or a writer that escapes
	started atomic.Bool
	failed  atomic.Pointer[error]
}

func newOutput(to io.Writer) *output { return &output{to: to, text: &escapingWriter{to: to}} }

// copyExactly turns off escaping. Call it before the first write.
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

// err returns the error of the first write that failed.
func (o *output) err() error {
	if err := o.failed.Load(); err != nil {
		return fmt.Errorf("not all of the output could be written: %w", *err)
	}
	return nil
}

// fail prints the failure of a command with --json, if the command has not printed anything. audit tail prints one JSON value a line, so its
// failure is one more line. args is the command line: cobra does not parse flags after one that is not valid.
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
		_ = json.NewEncoder(o).Encode(report) // the command fails in any case
		return
	}
	_ = printJSON(o, report)
}

// addJSONFlag adds the flag --json, which every command that prints a result has.
func addJSONFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print the result as JSON, and a failure too")
}

// wantsJSON reports whether a command was given --json.
func wantsJSON(cmd *cobra.Command) bool {
	asJSON, err := cmd.Flags().GetBool("json")
	return err == nil && asJSON
}

// printResult prints a result as JSON if --json is given, and otherwise as text.
func printResult(cmd *cobra.Command, result any, text func(out io.Writer) error) error {
	if wantsJSON(cmd) {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return text(cmd.OutOrStdout())
}

// printJSON prints a value as indented JSON.
func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// failure is an error in JSON. Its code is one of package codes, and is left out if the error has no code.
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

// roundDuration rounds a measured time to two or three significant digits.
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

// discardLog returns a log that discards everything.
func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
