package soak

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/redistest"
	"github.com/coffer-storage/coffer/server/keyring"
	"github.com/coffer-storage/coffer/server/keystore"
	"github.com/coffer-storage/coffer/server/keystore/rediskeys"
	"github.com/coffer-storage/coffer/shared/classify"
)

// heapLimit is the heap in bytes that recovery may use for any number of tenants.
const heapLimit = 64 << 20

func recoveryOf(t *testing.T, store keystore.Store, ring *keyring.Keyring) *recovery.Recovery {
	return &recovery.Recovery{Keyring: ring, Store: store, KEKs: keks(t), Environment: environment, Audit: unrecorded{}}
}

// A backup of many documents is written, verified and restored with bounded memory.
func TestRecoveryUsesBoundedMemory(t *testing.T) {
	n, full := tenantCount(t)
	store := rediskeys.New(redistest.Start(t).Client(t))
	ring := open(t, store)
	populate(t, ring, n, classify.PHI)
	path := filepath.Join(t.TempDir(), "backup")

	from, most := recoveryOf(t, store, ring), map[string]uint64{}
	most["Backup"] = peak(t, func() error {
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer file.Close()
		tenants, err := from.Backup(t.Context(), func(fill func(io.Writer) error) error { return fill(file) })
		if err == nil && tenants != n {
			err = fmt.Errorf("a backup of %d tenants", tenants)
		}
		return err
	})
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	most["Drill"] = peak(t, func() error {
		drill, err := from.Drill(t.Context(), file)
		if err == nil && drill.Keys != n {
			err = fmt.Errorf("a drill of %d keys", drill.Keys)
		}
		return err
	})
	empty := rediskeys.New(redistest.Start(t).Client(t))
	to := recoveryOf(t, empty, open(t, empty))
	most["Restore"] = peak(t, func() error {
		restored, err := to.Restore(t.Context(), file, nil)
		if err == nil && len(restored.Changes) != n {
			err = fmt.Errorf("a restore of %d tenants", len(restored.Changes))
		}
		return err
	})
	info, err := file.Stat()
	require.NoError(t, err)
	for _, what := range []string{"Backup", "Drill", "Restore"} {
		report(t, fmt.Sprintf("%s of %d documents of together %s", what, n, mebibytes(uint64(info.Size()))), "at most ", mebibytes(most[what]), " of heap")
		if full {
			require.Less(t, most[what], uint64(heapLimit))
		}
	}
}
