package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	barWidth    = 30
	barInterval = 100 * time.Millisecond
)

// progress draws a bar on a terminal, and nothing elsewhere. Its result is called by one at a time.
func progress(out io.Writer, what string) func(done, total int) {
	if !isTerminal(out) {
		return nil
	}
	return bar(out, what)
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func bar(out io.Writer, what string) func(done, total int) {
	var drawn time.Time
	return func(done, total int) {
		if done < total && time.Since(drawn) < barInterval {
			return
		}
		drawn = time.Now()
		filled := barWidth * done / max(total, 1)
		end := ""
		if done >= total {
			end = "\n"
		}
		fmt.Fprintf(out, "\r%s [%s%s] %d of %d%s", what, strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled), done, total, end)
	}
}
