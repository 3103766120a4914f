//go:build !unix

package main

import (
	"errors"
	"os"
)

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func maxOpenFiles() (uint64, error) { return 0, errors.ErrUnsupported }
