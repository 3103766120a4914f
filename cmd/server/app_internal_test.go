package main

import (
	"io"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/config"
)

// The limit is COFFER_BYTES.
func TestRequestsAndRotationsShareOneMemoryLimit(t *testing.T) {
	t.Parallel()
	c, _, err := config.Load([]string{"COFFER_DATA=" + t.TempDir(), "COFFER_BYTES=1000"}, pflag.NewFlagSet("", pflag.ContinueOnError))
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	p, err := openApp(t.Context(), &c, io.Discard, log)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.close()) }()
	require.Same(t, p.memory, p.rotator.Memory)
	require.Same(t, p.memory, p.handlerOptions(t.Context()).Memory)
	require.EqualValues(t, 500, p.memory.BackgroundShare())
}

// Other commands that open the store return it too.
func TestOpenAppReturnsTheErrorOfTheStore(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	c, _, err := config.Load([]string{"COFFER_DATA=" + data}, pflag.NewFlagSet("", pflag.ContinueOnError))
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	p, err := openApp(t.Context(), &c, io.Discard, log)
	require.NoError(t, err)
	require.NoError(t, p.close())
	require.NoError(t, os.RemoveAll(cacheDir(&c)))
	require.NoError(t, os.WriteFile(cacheDir(&c), nil, 0o600))

	p, err = openApp(t.Context(), &c, io.Discard, log)
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.Nil(t, p)
	store, err := (&operator{config: &c}).cacheStore()
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.Nil(t, store)
}
