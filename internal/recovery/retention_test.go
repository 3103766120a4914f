package recovery_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/internal/recovery"
	"github.com/coffer-storage/coffer/internal/secret"
	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
	"github.com/coffer-storage/coffer/shared/envelope"
)

// A restore into an empty store brings back no shredded tenant and no destroyed key, even if retention deleted the
// files of the audit log that recorded them.
func TestRestoreAfterLogRetention(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.dir, "audit")
	key := audit.NewKey(new(secret.Key))
	log, err := audit.Open(path, key, audit.Options{MaxSize: 2000, Keep: 1, Sync: audit.SyncLater, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	r := s.a()
	r.Audit = log
	destroyed := primary(t, r, "tenant-0")
	rotateOf(t, r, destroyed)
	shredded := sealWith(t, r, "tenant-1", classify.PHI)
	kept := sealWith(t, r, "tenant-2", classify.PHI)
	file := backup(t, r)
	require.NoError(t, retire(t, r, destroyed, envelope.Disabled))
	require.NoError(t, retire(t, r, destroyed, envelope.Destroyed))
	require.NoError(t, r.Shred(t.Context(), "tenant-1"))
	files := func() map[string]bool {
		all, err := filepath.Glob(filepath.Join(path, "1", "*.log"))
		require.NoError(t, err)
		set := map[string]bool{}
		for _, name := range all {
			set[name] = true
		}
		return set
	}
	for name := range files() {
		for deleted := false; !deleted; {
			require.NoError(t, log.Record(t.Context(), audit.Event{Action: audit.TokenCreate}))
			_, err := os.Stat(name)
			deleted = err != nil
		}
	}
	require.NoError(t, log.Close())
	endings := &recovery.Tombstones{}
	require.NoError(t, endings.AddLog(t.Context(), path, key))
	s.lose()
	_, err = s.a().Restore(t.Context(), reading(file), endings)
	require.NoError(t, err)
	openAll(t, s.a(), []sealed{shredded}, "key_destroyed")
	require.Equal(t, envelope.Destroyed, stateIn(t, s.a(), destroyed))
	openAll(t, s.a(), []sealed{kept}, "")
}
