package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/coffer-storage/coffer/shared/codes"
)

// output is standard output, and remembers that something could not be written: what reads it was not told
// all, so a command that ends must not say that it succeeded.
type output struct {
	to     io.Writer
	begun  atomic.Bool
	failed atomic.Pointer[error]
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.begun.Store(true)
	n, err := o.to.Write(p)
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
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Message: err.Error()}
	var coded interface{ Code() string }
	if errors.As(err, &coded) {
		f.Code = codes.Of(err).Code
	}
	return f
}

// fail tells a program that runs a command with --json of its failure, where the command has printed nothing.
// What audit tail prints is the log's lines, and this is none.
func (o *output) fail(cmd *cobra.Command, err error) {
	if asJSON, none := cmd.Flags().GetBool("json"); none != nil || !asJSON || cmd.Name() == "tail" || o.begun.Load() {
		return
	}
	_ = printJSON(o, struct { // the command fails anyhow
		Error *failure `json:"error"`
	}{failureOf(err)})
}

// brief is a measured time without digits that mean nothing.
func brief(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}
