package sqlitekv

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/kv"
	"github.com/coffer-storage/coffer/server/kv/kvtest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, t.TempDir()) })
}

func TestSweeperConformance(t *testing.T) {
	t.Parallel()
	kvtest.RunSweeper(t, func(t *testing.T) kv.Store { return open(t, t.TempDir()) })
}
