package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// terminal returns the file of a command's stream if it is a terminal; otherwise nil.
func terminal(stream any) *os.File {
	if o, ok := stream.(*output); ok {
		stream = o.to
	}
	file, ok := stream.(*os.File)
	if !ok || !isTerminal(file) {
		return nil
	}
	return file
}

const (
	barWidth    = 30
	barInterval = 100 * time.Millisecond
)

// newProgress returns a function that draws a progress bar on a terminal; nil for any other stream. It is not safe for concurrent use.
func newProgress(out io.Writer, what string) func(done, total int) {
	if file := terminal(out); file != nil {
		return newProgressBar(file, what)
	}
	return nil
}

func newProgressBar(out io.Writer, what string) func(done, total int) {
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
