package main

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Write never blocks. The warning is written as soon as the log is read again.
func TestLogQueueDropsAndWarns(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	q := newLogQueue(writer)
	line := []byte(strings.Repeat("x", 64<<10-1) + "\n")
	const extra = 5
	for range maxLogWaiting/len(line) + extra {
		n, err := q.Write(line)
		require.NoError(t, err)
		require.Len(t, line, n)
	}
	require.Equal(t, extra, q.Dropped())

	lines := bufio.NewReaderSize(reader, len(line))
	for range maxLogWaiting / len(line) {
		read, err := lines.ReadBytes('\n')
		require.NoError(t, err)
		require.True(t, bytes.Equal(line, read), "whole lines, in order")
	}
	warning, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, warning, `"level":"WARN"`)
	require.Contains(t, warning, `"lines":5}`)

	_, err = q.Write([]byte("again\n"))
	require.NoError(t, err)
	again, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "again\n", again, "the warning comes once")
	require.NoError(t, q.Close())
}

// It returns after a second if the stream blocks.
func TestLogQueueCloseWritesWaitingLines(t *testing.T) {
	t.Parallel()
	var written bytes.Buffer
	q := newLogQueue(&written)
	for range 1000 {
		_, _ = q.Write([]byte("line\n"))
	}
	require.NoError(t, q.Close())
	require.Equal(t, 5000, written.Len())
	_, _ = q.Write([]byte("late\n"))
	require.Equal(t, 1, q.Dropped())
	require.NoError(t, q.Close(), "twice")

	_, blocked := io.Pipe()
	q = newLogQueue(blocked)
	_, _ = q.Write([]byte("line\n"))
	begin := time.Now()
	require.NoError(t, q.Close())
	require.GreaterOrEqual(t, time.Since(begin), lastLogTimeout)
}

func TestLogQueueCountsLinesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	require.NoError(t, reader.Close())
	q := newLogQueue(writer)
	_, _ = q.Write([]byte("a\nb\n"))
	require.NoError(t, q.Close())
	require.Equal(t, 2, q.Dropped())
}
