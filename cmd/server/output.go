package main

import (
	"fmt"
	"io"
	"sync/atomic"
)

// output is standard output, and remembers that something could not be written: what reads it was not told all, so a command that ends must not say that
// it succeeded.
type output struct {
	to     io.Writer
	failed atomic.Pointer[error]
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
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
