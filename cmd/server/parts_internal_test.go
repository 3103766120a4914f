package main

import (
	"io"
	"log/slog"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/config"
)

// What requests hold in memory and what a rotation does is one budget, and it is COFFER_BYTES.
func TestOneMemory(t *testing.T) {
	t.Parallel()
	c, _, err := config.Load([]string{"COFFER_DATA=" + t.TempDir(), "COFFER_BYTES=1000"}, pflag.NewFlagSet("", pflag.ContinueOnError))
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	p, err := openParts(t.Context(), &c, io.Discard, log)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.close()) }()
	require.Same(t, p.memory, p.rotator.Memory)
	require.Same(t, p.memory, p.options(&c, log).Memory)
	require.EqualValues(t, 500, p.memory.Share())
}
