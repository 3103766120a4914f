package audit_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coffer-storage/coffer/server/audit"
	"github.com/coffer-storage/coffer/shared/classify"
)

// syncBuffer collects the server's log, which other goroutines write while the test reads it.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *syncBuffer) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *syncBuffer) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// The log warns at 80 % of its budget. Beyond the budget, uses of keys are refused, refusals are only counted, and
// administration is still recorded.
func TestFullBudgetRefusesUseAndAdmitsAdministration(t *testing.T) {
	for _, policy := range []audit.FailurePolicy{audit.Refuse, audit.Continue} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			var lost atomic.Int64
			log := &syncBuffer{}
			const budget = 20_000
			dir, key := filepath.Join(t.TempDir(), "audit"), newKey(t)
			open := func(options audit.Options) *audit.File {
				f, err := audit.Open(dir, key, options)
				require.NoError(t, err)
				return f
			}
			f := open(audit.Options{
				OnFailure: policy, Budget: budget, Sync: audit.SyncLater, Log: slog.New(slog.NewTextHandler(log, nil)), OnLost: func(n int) { lost.Add(int64(n)) },
			})
			use := audit.Event{Action: audit.KeyOpen, Class: classify.PHI, Tenant: "clinic", Name: "patient"}
			var err error
			used := func() int64 { bytes, _ := f.Size(); return bytes }
			for used() < budget*79/100-1000 {
				require.NoError(t, f.Record(t.Context(), use))
				require.NoError(t, f.CheckBudget(t.Context()))
			}
			for used() < budget*4/5 {
				require.NoError(t, f.Record(t.Context(), use))
			}
			require.ErrorIs(t, f.CheckBudget(t.Context()), audit.ErrAlmostFull)
			require.NoError(t, f.Ready(t.Context()))
			waitFor(t, func() bool { return bytes.Contains([]byte(log.String()), []byte("level=WARN")) })
			for used() < budget {
				require.NoError(t, f.Record(t.Context(), use))
			}
			require.Zero(t, lost.Load())

			full := used()
			require.ErrorIs(t, f.Ready(t.Context()), audit.ErrUnavailable)
			if err = f.Record(t.Context(), use, use); policy == audit.Refuse {
				require.ErrorIs(t, err, audit.ErrUnavailable)
				require.ErrorContains(t, err, "budget")
			} else {
				require.NoError(t, err)
			}
			require.EqualValues(t, 2, lost.Load())
			require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.AccessRefused, Code: "forbidden"}))
			require.EqualValues(t, 3, lost.Load())
			require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.KeyOpen, Class: classify.Public}), "use of public data is never recorded")
			require.Equal(t, full, used())
			require.NoError(t, f.Record(t.Context(), audit.Event{Action: audit.TokenRevoke, Subject: "token"}))
			require.Greater(t, used(), full)
			waitFor(t, func() bool { return bytes.Contains([]byte(log.String()), []byte("level=ERROR")) })
			require.NoError(t, f.Close())

			f = open(audit.Options{Budget: 2 * budget})
			require.NoError(t, f.Record(t.Context(), use), "a larger budget admits events again")
			require.NoError(t, f.CheckBudget(t.Context()))
			require.Greater(t, used(), full, "earlier files count")
			require.NoError(t, f.Close())
		})
	}
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 5*time.Minute, 10*time.Millisecond)
}
